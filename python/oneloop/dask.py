"""Dask on oneloop: a preload module, so that the processes of a cluster run on oneloop's loops.

For the command line::

    dask scheduler --preload oneloop.dask
    dask worker tcp://scheduler:8786 --preload oneloop.dask

and in a program, before it makes a ``Client`` or a ``LocalCluster``::

    import oneloop.dask

Unlike ``import oneloop``, importing this module changes the process that does it: oneloop becomes the default of
``asyncio.run``, as by ``oneloop.install()``, and ``distributed``'s setting ``admin.event-loop`` says that it is to use
the default, whatever a configuration file says. The processes that a nanny or a ``LocalCluster`` starts get that
setting from their parent, and the default with it. What ``distributed`` only imports once a loop runs (the
configuration's ``worker.preload`` in a worker that has a nanny, say) comes too late for that loop, and is logged as an
error; ``nanny.preload`` is in time for the worker.

Dask is not a requirement of oneloop: this module needs the one that imports it.
"""

import asyncio
from typing import Any

import dask.config  # type: ignore[import-not-found, unused-ignore]  # stubtest has no Dask, nor mypy's settings

from . import _default
from ._loop import Loop

_SETTING = "distributed.admin.event-loop"


class _DefaultLoop(str):
    """The setting's value "asyncio", which means the process's default.

    A nanny pickles its configuration for the worker's process, and that process makes its loop before it imports
    preload modules. To unpickle this value is to import this module first.
    """

    __slots__ = ()

    def __new__(cls) -> "_DefaultLoop":
        return super().__new__(cls, "asyncio")

    def __reduce__(self) -> tuple[type["_DefaultLoop"], tuple[()]]:
        return _DefaultLoop, ()


def dask_setup(server: Any) -> None:
    """Refuse to be a preload module that had no effect. Called by ``distributed`` on the loop of ``server``.

    Raises:
        RuntimeError: if that loop was made before this module was imported; ``distributed`` logs it.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, Loop):
        raise RuntimeError(
            f"{server!r} runs on {type(loop).__module__}.{type(loop).__qualname__}: oneloop.dask was imported after "
            "its loop was made; use the option --preload oneloop.dask, or import it before distributed starts"
        )


_default.make_default()
dask.config.set({_SETTING: _DefaultLoop()})
