"""Every row of the scheduling group, by key, in the order of the table."""

from __future__ import annotations

from benches.scheduling import callbacks, handover, tasks, threads, timers, trees
from benches.scheduling.row import ROWS, Row

__all__ = ["PROGRAMS", "ROWS", "Row"]

# Importing them filled ROWS.
PROGRAMS = (callbacks, tasks, handover, timers, threads, trees)
