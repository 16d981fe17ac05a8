"""Puts the loop under test in asyncio's place, in a module's process, before the module is imported.

What changes is only what a test can name: `SelectorEventLoop`, `EventLoop`, `BaseEventLoop` where tests construct one,
the policy's factory (and with it `asyncio.new_event_loop`), and the suite's own TestLoop. The loop itself is the
product's class, unchanged but for a counter around its constructor.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import importlib.util
import socket
import types
from collections.abc import Callable
from typing import Any

from stdlib.conformance import testloop

Send = Callable[..., None]


class Substitution:
    """Counts what a test did with the loop under test."""

    def __init__(self, loop_class: type) -> None:
        self.loop_class = loop_class
        self.loops = 0

    def begin_test(self) -> None:
        self.loops = 0

    def created(self) -> None:
        self.loops += 1

    def adapt_module(self, module: types.ModuleType) -> None:
        testloop.rebuild_helpers(module)


def substitute(config: dict[str, Any], send: Send) -> Substitution:
    """Install the loop that the configuration names; report what it is."""
    module_name, _, class_name = config["loop"].partition(":")
    loop_class: type = getattr(importlib.import_module(module_name), class_name)
    substitution = Substitution(loop_class)

    probe: Any = loop_class()
    try:
        # A loop may learn at its first task what asyncio's own loop does on this interpreter: while that one is there.
        probe.run_until_complete(asyncio.sleep(0))
        send(
            "loop",
            backend=getattr(probe, "backend", None),
            has=present(config["privates"], probe),
            asyncio_has=asyncio_has(config["privates"]),
        )
    finally:
        probe.close()

    count_constructions(loop_class, substitution)
    replace_names(loop_class)
    package = config["module"].rpartition(".")[0]
    if package and importlib.util.find_spec(f"{package}.utils") is not None:
        testloop.rebuild(importlib.import_module(f"{package}.utils"))
    return substitution


def present(identifiers: list[str], loop: Any) -> list[str]:
    """Which of these are attributes of a loop, or of the transport of a connection that it makes."""
    ours, peer = socket.socketpair()
    with ours, peer:
        transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ours))
        names = [name for name in identifiers if hasattr(loop, name) or hasattr(transport, name)]
        transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
    return names


def asyncio_has(identifiers: list[str]) -> list[str]:
    """Which are attributes of asyncio's own loop and transports, or dotted names that lead to something in asyncio."""
    loop = asyncio.SelectorEventLoop()
    try:
        return present(identifiers, loop) + [name for name in identifiers if "." in name and leads_somewhere(name)]
    finally:
        loop.close()


def leads_somewhere(identifier: str) -> bool:
    module, _, attribute = identifier.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), attribute)
    except ImportError:
        return False


def count_constructions(loop_class: Any, substitution: Substitution) -> None:
    original = loop_class.__init__

    @functools.wraps(original)
    def counting(self: Any, *args: Any, **kwargs: Any) -> None:
        substitution.created()
        original(self, *args, **kwargs)

    loop_class.__init__ = counting


def replace_names(loop_class: type) -> None:
    """Every name through which a test reaches the default loop."""
    stand_in = accepting_selector(loop_class)
    for module_name in ("asyncio", "asyncio.events", "asyncio.unix_events"):
        module = importlib.import_module(module_name)
        for name in ("SelectorEventLoop", "EventLoop", "_UnixSelectorEventLoop"):
            if hasattr(module, name):
                setattr(module, name, stand_in)
    # Tests that build a BaseEventLoop put mocks where its selector was; attributes that nobody reads do ours no harm.
    for module_name in ("asyncio", "asyncio.base_events"):
        setattr(importlib.import_module(module_name), "BaseEventLoop", loop_class)  # noqa: B010

    unix_events = importlib.import_module("asyncio.unix_events")
    # 3.14 renamed the policies and 3.16 has none; the factory is looked up on the class.
    for name in ("_UnixDefaultEventLoopPolicy", "_DefaultEventLoopPolicy"):
        policy = getattr(unix_events, name, None)
        if policy is not None:
            policy._loop_factory = loop_class


def accepting_selector(loop_class: type) -> type:
    """A class in SelectorEventLoop's place: it takes the selector that tests pass, and makes exactly `loop_class`.

    An instance of a subclass would not do, because the product may treat the exact type in a special way. Only a class
    that a test derives from it is constructed as such.
    """

    class Meta(type(loop_class)):  # type: ignore[misc]
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            if cls is stand_in:
                return loop_class()
            return super().__call__(*args, **kwargs)

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, loop_class) if cls is stand_in else super().__instancecheck__(instance)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, loop_class) if cls is stand_in else super().__subclasscheck__(subclass)

    stand_in = Meta("SelectorEventLoop", (loop_class,), {"__module__": "asyncio.unix_events"})
    return stand_in
