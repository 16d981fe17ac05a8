"""Event loop policies, where the interpreter still has them. Imported only when somebody asks for one."""

import sys
import warnings
from typing import TYPE_CHECKING

from . import _default
from ._loop import Loop
from ._run import new_event_loop

if TYPE_CHECKING:
    if sys.version_info >= (3, 14):
        from asyncio.unix_events import _DefaultEventLoopPolicy as _Base
    else:
        from asyncio import DefaultEventLoopPolicy as _Base
else:
    _Base = _default.default_policy_class()


class EventLoopPolicy(_Base):
    """asyncio's default policy, except that its new loops are oneloop's.

    ``asyncio.set_event_loop_policy(oneloop.EventLoopPolicy())`` makes every ``asyncio.run`` of the process use
    oneloop; ``oneloop.run`` and ``loop_factory=oneloop.new_event_loop`` say the same more locally.
    """

    def new_event_loop(self) -> Loop:
        """Return a new oneloop loop. Follows ``asyncio.AbstractEventLoopPolicy.new_event_loop``."""
        return new_event_loop()


def install() -> None:
    """Make oneloop the loop of every ``asyncio.run`` of this process, by setting the policy.

    Python 3.14 deprecates policies: there this warns (``DeprecationWarning``), as ``asyncio.set_event_loop_policy``
    does, and ``oneloop.run`` is the way that stays.
    """
    if _default.POLICIES_DEPRECATED:
        warnings.warn(
            "oneloop.install() sets an event loop policy; policies are deprecated and end with Python 3.16: "
            "use oneloop.run(main()) or loop_factory=oneloop.new_event_loop",
            DeprecationWarning,
            stacklevel=2,
        )
    _default.set_policy(EventLoopPolicy())
