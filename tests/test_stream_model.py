# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs, disallow-untyped-decorators=False
"""Random lives of a connection over Unix sockets, the same on asyncio's transport and on ours (see `helpers.lives`)."""

import pytest
from helpers.lives import CALLS, LIVES, PROFILE, check
from hypothesis import example, given
from hypothesis import strategies as st

KINDS = st.sampled_from(["socketpair", "unix", "abstract"])


@PROFILE
@given(KINDS, LIVES)
@example("unix", [(("callback", [("write", 150_000), ("close",)]), 1), (("peer reads", 1 << 30), 2)])
@example(
    "unix", [(("next time", "data", ("protocol", "buffers")), 0), (("peer writes", 20_000), 2), (("peer ends",), 2)]
)
@example(
    "unix",
    [(("callback", [("write_eof",), ("pause",)]), 1), (("peer writes", 10), 1), (("callback", [("resume",)]), 1)],
)
def test_lives(loop_factory, kind, turns):
    check(loop_factory, turns, kind=kind)


MIDDLE = st.one_of(
    CALLS.filter(lambda call: call[0] not in ("close", "abort", "write_eof")).map(lambda call: ("callback", [call])),
    st.tuples(st.just("peer reads"), st.sampled_from([1, 3_000, 1 << 30])),
)


@PROFILE
@given(KINDS, st.lists(st.tuples(MIDDLE, st.integers(0, 1)), min_size=5, max_size=40))
def test_long_lives(loop_factory, kind, turns):
    # Without ends, there is more of the middle: flow control in both directions.
    check(loop_factory, turns, kind=kind)


def test_a_life_sees_a_difference(loop_factory):
    # The comparison itself must be able to fail.
    def different():
        loop = loop_factory()
        made = loop.create_connection

        async def create_connection(*args, **kwargs):
            transport, protocol = await made(*args, **kwargs)
            transport.set_write_buffer_limits(1)
            return transport, protocol

        loop.create_connection = create_connection
        return loop

    with pytest.raises(AssertionError, match="entry 0"):
        check(different, [(("callback", [("write", 1)]), 1)])
