"""Making oneloop the default of this process, by whatever means the interpreter has.

Used where the program itself says ``asyncio.run(main())``: by ``install()``, which is asked for, and by the
command line, where the whole process is ours. Nothing here runs on import.
"""

import asyncio
from asyncio import events, unix_events

from ._run import new_event_loop

_PUBLIC, _PRIVATE = "set_event_loop_policy", "_set_event_loop_policy"

HAS_POLICIES = any(name in vars(events) for name in (_PUBLIC, _PRIVATE))
"""Whether the interpreter has event loop policies: those before Python 3.16 have."""

POLICIES_DEPRECATED = _PRIVATE in vars(events)
"""Whether the public function only warns and calls the private one, as in 3.14 and 3.15."""


def default_policy_class() -> type:
    """Return asyncio's own default policy, by the name that it is not deprecated under."""
    names = vars(unix_events)
    found: type = names.get("_DefaultEventLoopPolicy") or names["DefaultEventLoopPolicy"]
    return found


def set_policy(policy: object) -> None:
    """Set the process's policy without the warning that 3.14 gives: the caller has one of its own, or none."""
    setter = vars(events).get(_PRIVATE) or vars(events)[_PUBLIC]
    setter(policy)


def make_default() -> None:
    """Let ``asyncio.run``, ``asyncio.Runner`` and ``asyncio.new_event_loop`` make oneloop's loops."""
    if HAS_POLICIES:
        from ._policy import EventLoopPolicy

        set_policy(EventLoopPolicy())
    else:
        # Without policies nothing stands between asyncio.Runner and the function that makes the default loop.
        for module in (asyncio, events):
            vars(module)["new_event_loop"] = new_event_loop
