-- wrk's script for a route that answers with what it is sent: counts the answers that are something else.
wrk.method = "POST"
wrk.body = string.rep("0123456789abcdef", 4096)

local threads = {}
wrong = 0

function setup(thread)
    table.insert(threads, thread)
end

function response(status, headers, body)
    if body ~= wrk.body then
        wrong = wrong + 1
    end
end

function done(summary, latency, requests)
    local total = 0
    for _, thread in ipairs(threads) do
        total = total + thread:get("wrong")
    end
    print("wrong bodies: " .. total)
end
