"""What a request costs in figures that no other load on the machine can move: instructions and system calls.

    PYTHON -m benches.network.counts [--loops A,B] [--rows KEY,KEY] [--python PYTHON]

The server runs under callgrind, which counts its instructions in user space, and then under strace. Two loads are put
on it, of N requests and of 3 N, and the difference of their counts is that of 2 N requests: connections made and
closed, and all that happens once, are not in it. A row with one connection gives each request a server that waits; how
many requests a server finds at a time in the others depends on its pace, and both tools slow it down.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benches.instructions.measure import by_object
from benches.network import generator
from benches.network.measure import Equipment
from benches.network.processes import Running
from benches.network.rows import BY_KEY, Shape
from benches.suite.group import NoFigure

REQUESTS = 400
# Slow enough that even a server under callgrind has dealt with a request, and waits, when the next comes.
APART = 150
ROWS = ("echo-protocol-tcp-1-1k", "echo-streams-read-tcp-1-1k", "echo-sock-tcp-1-1k")


def load(equipment: Equipment, shape: Shape, server: Running, requests: int) -> None:
    """Exactly so many requests, all of them answered; over one connection, each after a pause.

    A server that is slowed down finds the next request there already when it has answered one, which it would not
    otherwise: so it would never have to wait, and what waiting costs would be in no figure.
    """
    amount = ["--warmup-requests", "0", "--requests", str(requests)]
    if shape.connections == 1:
        amount += ["--rate", str(APART)]
    generator.run(equipment.generator, [*equipment.where(shape, server), *amount])


def instructions(equipment: Equipment, shape: Shape, subject: str) -> dict[str, float]:
    """Instructions per request, by the shared object that executes them."""
    with tempfile.TemporaryDirectory() as folder:
        dumps = Path(folder, "dump")
        valgrind = [
            "valgrind",
            "--tool=callgrind",
            "--instr-atstart=no",
            "--compress-strings=no",
            f"--callgrind-out-file={dumps}",
        ]
        with equipment.server(shape, subject, *valgrind, f"--log-file={folder}/log") as server:
            counted = []
            callgrind("--instr=on", server)
            for requests in (REQUESTS, REQUESTS, 3 * REQUESTS):
                load(equipment, shape, server, requests)
                before = set(dumps.parent.glob("dump.*"))
                callgrind("--dump", server)
                (dump,) = set(dumps.parent.glob("dump.*")) - before
                counted.append(by_object(dump.read_text()))
    return per_request(counted[1], counted[2])


def callgrind(order: str, server: Running) -> None:
    command = ["callgrind_control", order, str(server.process.pid)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def syscalls(equipment: Equipment, shape: Shape, subject: str) -> dict[str, float]:
    """System calls per request, by name."""
    counted = []
    for requests in (REQUESTS, 3 * REQUESTS):
        with tempfile.TemporaryDirectory() as folder:
            told = Path(folder, "told")
            # -D: the server is our child, and strace its.
            strace = ["strace", "-D", "-f", "-c", "-U", "calls,name", "-o", str(told)]
            with equipment.server(shape, subject, *strace) as server:
                load(equipment, shape, server, requests)
                settle(server)
                server.process.kill()
                for _ in range(100):
                    if told.exists() and told.read_text().rstrip().endswith("total"):
                        break
                    time.sleep(0.05)
            found = re.findall(r"^\s*(\d+)\s+(\w+)$", told.read_text(), re.MULTILINE)
            counted.append(Counter({name: int(calls) for calls, name in found if name != "total"}))
    return per_request(*counted)


def settle(server: Running) -> None:
    """Waits until the server has noticed that its clients are gone, and so does nothing any more."""
    stat = Path(f"/proc/{server.process.pid}/status")
    before = ""
    for _ in range(100):
        switches = "".join(re.findall(r"ctxt_switches:\s*\d+", stat.read_text()))
        if switches == before:
            return
        before = switches
        time.sleep(0.1)


def per_request(short: Counter[str], long: Counter[str]) -> dict[str, float]:
    """The largest first; what happened once in hundreds of requests is left out."""
    figures = {name: (long[name] - short[name]) / (2 * REQUESTS) for name in short | long}
    return {name: count for name, count in sorted(figures.items(), key=lambda item: -item[1]) if count >= 0.005}


def described(counts: dict[str, float], form: str, most: int) -> str:
    return ", ".join(f"{name} {count:{form}}" for name, count in [*counts.items()][:most])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benches.network.counts", description="Instructions and system calls.")
    parser.add_argument("--loops", default="asyncio,uvloop,rloop,oneloop")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    options = parser.parse_args(arguments)
    equipment = Equipment(options.python, generator.build())
    print("| row | loop | instructions per request | by object | system calls per request |")
    print("| --- | --- | ---: | --- | --- |")
    for key in options.rows.split(","):
        for subject in options.loops.split(","):
            try:
                objects = instructions(equipment, BY_KEY[key].shape, subject)
                calls = syscalls(equipment, BY_KEY[key].shape, subject)
            except NoFigure as none:
                print(f"| {key} | {subject} | n/a | {none} | |", flush=True)
                continue
            total, made = sum(objects.values()), sum(calls.values())
            counted = f"{total:,.0f} | {described(objects, ',.0f', 5)} | {made:.2f}: {described(calls, '.2f', 6)}"
            print(f"| {key} | {subject} | {counted} |", flush=True)


if __name__ == "__main__":
    main()
