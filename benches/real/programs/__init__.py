"""What is measured: a server or a client of others, unchanged, each a process on a loop that it is told."""
