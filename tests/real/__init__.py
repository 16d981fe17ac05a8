"""Programs and libraries of others, unchanged, on the loop: each test starts what it needs.

They come with an environment of their own (scripts/requirements/real.txt) and with Debian packages, so they are a step
of their own: `make test-real`. Nothing of theirs is patched; the loop is chosen in the way that each of them offers.
"""
