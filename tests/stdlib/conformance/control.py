"""The control: the same module on asyncio's own loop, remembered outside the checkout.

A result is kept under the interpreter's build, the text of the test module and of the suite's helpers, and the text of
the code here that runs it. A test that fails in control is tried once more by itself, so that one unlucky moment does
not take it out of the count for good.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

from stdlib.conformance.process import Run, run_module
from stdlib.conformance.tables import Module, Tables


def default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "oneloop", "control")


def control_run(tables: Tables, module: Module, cache: Path) -> Run:
    """The remembered result, or a new one."""
    path = cache / f"{module.name}-{_key(tables, module)}.json"
    if path.is_file():
        return Run.from_json(json.loads(path.read_text(encoding="utf-8")))
    run = run_module(tables, module, loop=None, driver=None)
    unlucky = {test for test, outcome in run.tests.items() if outcome.outcome not in ("passed", "skipped")}
    if unlucky:
        again = run_module(tables, module, loop=None, driver=None, only=unlucky)
        run.tests.update({test: outcome for test, outcome in again.tests.items() if outcome.outcome == "passed"})
    if not run.finished():
        return run  # the next run shall try again
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=cache, delete=False, encoding="utf-8") as file:
        json.dump(run.as_json(), file)
    os.replace(file.name, path)  # runners side by side share the cache
    return run


def _key(tables: Tables, module: Module) -> str:
    digest = hashlib.sha256()
    for fact in (sys.version, platform.python_implementation(), platform.platform(), str(module.test_limit)):
        digest.update(fact.encode() + b"\0")
    here = Path(__file__).parent
    files = [here / "child.py", here / "process.py", here / "control.py"]
    for name in (module.name, "utils", "functional", "__init__"):
        spec = importlib.util.find_spec(f"{tables.package}.{name}")
        if spec is not None and spec.origin is not None:
            files.append(Path(spec.origin))
    for file in files:
        digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()[:24]


def exists(tables: Tables, module: Module) -> bool:
    """Whether this interpreter's suite has the module."""
    return importlib.util.find_spec(f"{tables.package}.{module.name}") is not None
