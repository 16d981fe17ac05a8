"""What a loop costs where no I/O is involved: callbacks, tasks, hand-over between them, timers, threads."""
