"""One event loop for Python coroutines and Rust futures.

oneloop is asyncio's event loop in Rust. Programs written for asyncio run on it unchanged::

    import oneloop

    oneloop.run(main())

or, where the program decides itself how it starts::

    asyncio.run(main(), loop_factory=oneloop.new_event_loop)  # Python 3.12 and later

or ``python -m oneloop script.py`` for a script that says ``asyncio.run``. Importing oneloop changes nothing
in asyncio.

``install()`` and ``EventLoopPolicy`` exist where the interpreter has event loop policies, and are made when
somebody asks for them: on Python 3.14 and later merely naming asyncio's policy classes is deprecated.
"""

import sys
from typing import TYPE_CHECKING

from ._core import __version__
from ._loop import Loop
from ._run import new_event_loop, run

if TYPE_CHECKING and sys.version_info < (3, 16):
    from ._policy import EventLoopPolicy as EventLoopPolicy
    from ._policy import install as install

__all__ = ["Loop", "__version__", "new_event_loop", "run"]

_NEEDS_POLICIES = frozenset({"EventLoopPolicy", "install"})


def __getattr__(name: str) -> object:
    if name not in _NEEDS_POLICIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _default

    if not _default.HAS_POLICIES:
        raise AttributeError(
            f"{__name__}.{name} needs event loop policies, which Python {sys.version_info[0]}.{sys.version_info[1]} "
            "no longer has; use oneloop.run(main()) or loop_factory=oneloop.new_event_loop"
        )
    from . import _policy

    value: object = getattr(_policy, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from . import _default

    return sorted({*globals(), *(_NEEDS_POLICIES if _default.HAS_POLICIES else ())})
