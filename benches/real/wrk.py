"""wrk, a compiled load for HTTP: one run of it, and what it says."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benches.real.services import LIMIT, program

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class FailedRequestsError(Exception):
    """Requests that failed, or that were answered wrongly: such a run is no measurement."""


@dataclass(frozen=True)
class Told:
    """How a run went; latencies in seconds, by the share of the requests that took no longer."""

    requests: int
    seconds: float
    latencies: dict[float, float]


def run(url: str, seconds: int, *, connections: int = 64, header: str = "", script: Path | None = None) -> Told:
    """Load a URL over that many connections, one request at a time on each; every answer has to be good."""
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency"]
    options += ["-H", header] if header else []
    options += ["-s", str(script)] if script else []
    command = [program("wrk"), *options, url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + LIMIT)
    if done.returncode:
        raise FailedRequestsError(done.stdout + done.stderr)
    return read(done.stdout)


def read(said: str) -> Told:
    """What a report says, unless it says that something failed."""
    if wrong := re.search(r"Socket errors.*|Non-2xx or 3xx responses.*|wrong bodies: [1-9].*", said):
        raise FailedRequestsError(wrong[0])
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", said)
    if not total or total[1] == "0":
        raise FailedRequestsError("no request was answered")
    shares = re.findall(r"^ +([\d.]+)% +([\d.]+)(us|ms|s|m)$", said, re.MULTILINE)
    latencies = {float(share) / 100: float(value) * UNITS[unit] for share, value, unit in shares}
    return Told(int(total[1]), float(total[2]) * UNITS[total[3]], latencies)
