"""Reference counts and garbage: a million operations of each kind, after which everything is as it was.

`make counts` does it on the loop of this checkout (`make counts OPERATIONS=10000` in less time), and
tests/test_counts.py ten thousand of each, with leaks on purpose as well, which have to be seen. By hand, from `tests`:
`python -m counts --operations 1000000 --only call_soon,tls_records`.

For each kind of operation (`operations`) a loop does as many, comes to rest, and `ledger` takes down the reference
counts of what is shared by all, of the arguments and of everything that the collector knows; how many objects there
are of each type; how many blocks CPython has given out, and how many bytes malloc. Caches may fill in the first
rounds. What is leaked grows in every round.
"""
