"""Gates: what an operation costs, counted and not timed, and compared with what is written down.

`make gates` counts two things for each row (`rows`), on the release build that the tests use:

- instructions inside our own shared object, by callgrind (`instructions`): within 2% of the record of this very build
  of the interpreter, by this compiler, for this kind of processor. A build that has no record is no failure: what it
  would record is printed.
- system calls, by their names (`syscalls`): exactly those of the record, which holds for every build.

`make gates RECORD=1` writes what was counted into `figures.json`, which is committed (`record`); `benches/gates/run
--check` counts twice and fails if a row does not repeat within 0.5%. What fails is named with its row, before and
after. A row that has become cheaper fails as well: the record is to be true.

Both run on a clock that stands still unless the program sleeps (benches/instructions/clock.c), so a loop that bounds
by the clock how long it goes without polling does the same in every run.
"""
