"""A soak: everything that the loop does, at once and for minutes, after which nothing has grown.

`make soak` runs it for five minutes (`make soak SECONDS=60` for one), on the loop of this checkout. By hand, from
`tests`: `python -m soak --seconds 300 --loop oneloop`; asyncio's loop is the control. tests/test_soak.py runs a short
form, with leaks as well, which have to be seen.

It goes in windows of some seconds. In each, every kind of work (`network`, `machinery`) goes round and round beside the
others, with connections that live for one round, for the window (`stage`) and for the whole soak. Then all of it comes
to rest, and memory, descriptors and objects are counted (`figures`): a line is printed. At the end `judge` compares
windows. It fails if a figure has grown, and also if any round fails, anything is reported to the loop's exception
handler, anything warns, or nothing is done of some kind of work.
"""
