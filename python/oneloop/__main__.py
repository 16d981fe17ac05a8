"""``python -m oneloop``: run a script, a module or the interactive shell with oneloop as asyncio's loop.

The program runs as ``python script.py`` or ``python -m module`` would run it, as a new ``__main__`` that stays until
the interpreter exits (pickle, multiprocessing and atexit look there). Only ``asyncio.run`` and its relatives differ:
they make oneloop's loops.
"""

import builtins
import io
import os
import pkgutil
import runpy
import sys
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType
from typing import NoReturn

from oneloop import __version__, _default

USAGE = """\
usage: python -m oneloop script.py [arguments]
       python -m oneloop -m module [arguments]
       python -m oneloop

Run a program with oneloop as asyncio's event loop. A script may also be a directory or a zip file with a __main__.py.
Without one, run the interactive shell in which await works: python -m asyncio, on oneloop.

  -m module      run a module of the import path, as python -m does
  -h, --help     show this text
  -V, --version  show oneloop's version
"""


def main() -> None:
    """Do what the command line says."""
    arguments = sys.argv[1:]
    if not arguments:
        run_module("asyncio", [])
        return
    first = arguments.pop(0)
    if first in ("-h", "--help"):
        print(USAGE, end="")
    elif first in ("-V", "--version"):
        print(f"oneloop {__version__}")
    elif first == "-m":
        run_module(arguments.pop(0) if arguments else wrong_usage("-m needs the name of a module"), arguments)
    elif first.startswith("-m"):
        run_module(first.removeprefix("-m"), arguments)
    elif first.startswith("-"):
        wrong_usage(f"there is no option {first}")
    elif pkgutil.get_importer(first) is not None:
        run_directory(first, arguments)
    else:
        run_script(first, arguments)


def wrong_usage(message: str) -> NoReturn:
    print(f"python -m oneloop: {message}\n{USAGE}", end="", file=sys.stderr)
    sys.exit(2)


def run_module(name: str, arguments: list[str]) -> None:
    """As ``python -m name``. sys.path is right already: oneloop itself was started that way."""
    sys.audit("cpython.run_module", name)
    sys.argv = ["-m", *arguments]
    new_main()
    _default.make_default()
    run_module_as_main(name)


def run_directory(path: str, arguments: list[str]) -> None:
    """As ``python path`` where path is a directory or a zip file: it goes to the head of sys.path, always."""
    sys.audit("cpython.run_module", "__main__")
    sys.argv = [path, *arguments]
    sys.path[: head_of_path()] = [os.path.abspath(path)]
    new_main()
    _default.make_default()
    run_module_as_main("__main__", alter_argv=False)


def run_script(path: str, arguments: list[str]) -> None:
    """As ``python path``."""
    sys.audit("cpython.run_file", path)
    sys.argv = [path, *arguments]
    sys.path[: head_of_path()] = [] if sys.flags.safe_path else [os.path.dirname(os.path.realpath(path))]
    absolute = os.path.join(os.getcwd(), path)  # not normalized: nor does Python
    code, loader = read_script(absolute)
    names = new_main().__dict__
    names.update(__file__=absolute, __loader__=loader("__main__", absolute))
    _default.make_default()
    exec(code, names)


def read_script(path: str) -> tuple[CodeType, type[SourceFileLoader | SourcelessFileLoader]]:
    """The program, compiled or to be compiled, and what Python names as its loader."""
    try:
        with io.open_code(path) as file:
            compiled: object = pkgutil.read_code(file)
            if isinstance(compiled, CodeType):
                return compiled, SourcelessFileLoader
            file.seek(0)
            source = file.read()
    except OSError as exc:
        print(f"{sys.executable}: can't open file {path!r}: [Errno {exc.errno}] {exc.strerror}", file=sys.stderr)
        sys.exit(2)
    return compile(source, path, "exec", dont_inherit=True), SourceFileLoader


def head_of_path() -> int:
    """How many entries of sys.path the interpreter put there for ``-m oneloop``: the working directory, or none."""
    return 0 if sys.flags.safe_path else 1


def new_main() -> ModuleType:
    """A fresh ``__main__`` in place of this module, which nothing shall find there."""
    module = ModuleType("__main__")
    names = module.__dict__
    names["__builtins__"] = builtins
    # Names that every ``__main__`` had once: 3.14 makes annotations on demand, 3.15 drops __cached__.
    if "__annotations__" in globals():
        names["__annotations__"] = {}
    if "__cached__" in globals():
        names["__cached__"] = None
    sys.modules["__main__"] = module
    return module


def run_module_as_main(name: str, *, alter_argv: bool = True) -> None:
    """What the interpreter itself calls for ``-m``: the public ``runpy.run_module`` takes ``__main__`` away at the end,
    while threads and exit handlers may still want it."""
    vars(runpy)["_run_module_as_main"](name, alter_argv)


if __name__ == "__main__":
    main()
