# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs
"""What a native object has to bear, whatever its kind; and which native kinds there are.

`touch` does with an object what any Python program may do: looks at all of it, calls its methods wrongly, hangs things
on it, tries to make, to copy and to derive from it, and shows it to the garbage collector. What it may do to others
it does not do: no method succeeds.
"""

import contextlib
import copy
import gc
import pickle
import sys
import weakref

MODULE = "oneloop._core"
touched: set[str] = set()


def natives() -> set[str]:
    """The names of all types of the extension module that exist by now, also of those that no name leads to."""
    gc.collect()
    found = {kind for kind in gc.get_objects() if isinstance(kind, type)}
    # Their bases are in the collector's hands, or have none.
    for base in list(found):
        with contextlib.suppress(TypeError):
            found.update(type.__subclasses__(base))
    return {kind.__name__ for kind in found if kind.__module__ == MODULE}


def refused(call, *arguments):
    """It is to raise, and not to crash."""
    try:
        call(*arguments)
    except Exception:
        return
    raise AssertionError(f"{call} took {arguments}")


def tried(call, *arguments):
    """It may raise."""
    with contextlib.suppress(Exception):
        call(*arguments)


def touch(thing):
    """Do everything with an object that leaves it as it is, and give it back."""
    kind = type(thing)
    native = next(base for base in kind.__mro__ if base.__module__ == MODULE)
    touched.add(native.__name__)
    looked_at(thing, native)
    made_and_derived(native)
    hung_upon(thing)
    collected(thing)
    return thing


class Stranger:
    __slots__ = ()


def looked_at(thing, native):
    for show in (repr, str, hash, bool, dir, sys.getrefcount, sys.getsizeof, gc.is_tracked):
        tried(show, thing)
    for other in (thing, None, 0, Stranger()):
        for compare in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"):
            tried(getattr(thing, compare), other)
    for name, what in list(vars(native).items()):
        if hasattr(what, "__get__"):
            tried(getattr, thing, name)
            # A descriptor of one kind on an object of another.
            tried(what.__get__, Stranger())
        if callable(what) and not isinstance(what, type | staticmethod) and name not in ("__new__", "__class__"):
            refused(what)
            refused(what, Stranger())
            if name not in ("__init__", "__call__"):
                tried(getattr(thing, name), *[Stranger()] * 40)
    for make in (copy.copy, copy.deepcopy, pickle.dumps):
        tried(make, thing)


def made_and_derived(native):
    if native.__name__ in ("Loop", "_TLSSettings"):
        return  # these are made by their class
    refused(native)
    refused(native.__new__, native)
    refused(object.__new__, native)
    refused(type, "Derived", (native,), {})

    class Plain:
        pass

    plain = Plain()
    with contextlib.suppress(TypeError):
        plain.__class__ = native
        raise AssertionError("a plain object has become a native one")


def hung_upon(thing):
    for name in ("hung", "_callback", "_sock", "__class__", "__dict__"):
        tried(setattr, thing, name, Stranger())
        tried(delattr, thing, name)
    with contextlib.suppress(TypeError):
        gone = []
        weak = weakref.ref(thing, gone.append)
        assert weak() is thing
        assert not gone
        proxy = weakref.proxy(thing)
        tried(repr, proxy)
    if hasattr(thing, "__dict__"):
        with contextlib.suppress(Exception):
            thing.__dict__.update(hung=[thing])
            assert thing.hung == [thing]
            del thing.hung


def collected(thing):
    gc.get_referents(thing)
    gc.get_referrers(thing)
    gc.collect()


class Resurrected:
    """In a cycle with an object, it brings that back to life when the collector finds both."""

    back: list[object] = []  # noqa: RUF012 - there is one past for all

    def __init__(self, thing):
        self.thing = thing

    def __del__(self):
        Resurrected.back.append(self.thing)


def resurrect(make, hang):
    """Have the collector clear an object that comes back, look at it, and let it go for good."""
    thing = make()
    hang(thing, Resurrected(thing))
    del thing
    gc.collect()
    back, Resurrected.back = Resurrected.back, []
    for thing in back:
        looked_at(thing, next(base for base in type(thing).__mro__ if base.__module__ == MODULE))
        with contextlib.suppress(AttributeError, TypeError):
            thing.__dict__.clear()
    count = len(back)
    del back
    gc.collect()
    return count
