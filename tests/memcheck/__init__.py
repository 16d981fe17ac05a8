"""Programs that touch every native type of the extension module, under valgrind's memcheck.

`make memcheck` runs all of them on the loop of this checkout. By hand, from `tests`: `python -m memcheck`, or
`python -m memcheck --only transports,fork`.

Each program (`programs`) is a process of its own, with CPython's allocator out of the way (PYTHONMALLOC=malloc), so
that memcheck sees each object by itself. `judge` says which of memcheck's complaints count: every access to memory that
is not the process's, wherever it happened, since the interpreter may stumble over what we have freed; every use of an
undefined value, and every block that is definitely lost, if our shared object asked for it. (Objects that the garbage
collector knows are never lost in memcheck's eyes: those are counted in `counts`.)

It fails for any such complaint, for a program that fails, if a native type exists that no program has touched
(`kinds`), and if it does not see what two programs do wrong on purpose: leak bytes of ours, and free a handle of ours
too early.
"""
