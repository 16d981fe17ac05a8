"""Which rows are gates: few of the scheduling group's, and all of `network`."""

from __future__ import annotations

from benches.gates import network
from benches.scheduling.row import Row
from benches.scheduling.rows import ROWS as SCHEDULING

ROWS: dict[str, Row] = {
    key: {**SCHEDULING, **network.ROWS}[key]
    for key in (
        *("chain", "batch-arguments", "threadsafe", "sleep0", "spawn", "gather", "pingpong", "queue"),
        *("timer-cancel", "timer-fire"),
        *network.ROWS,
    )
}
# Where threads meet, instructions depend on who comes first.
INSTRUCTIONS = [key for key in ROWS if key != "threadsafe-parked"]
# Those that have to do with the kernel; and some that must not.
SYSCALLS = ["chain", "sleep0", "threadsafe", "timer-cancel", "timer-fire", *network.ROWS]
