"""Prepare a virtual environment in which this checkout's oneloop is installed, and print its Python.

Usage: PYTHON scripts/environment.py [--venv DIR] [GROUP ...]

The interpreter that runs this script is the one that gets the environment. GROUP names files in
scripts/requirements (`build` is always there; `test` and `lint` on demand).

Promises:
- Nothing is done twice. The environment is kept until the interpreter or a requirement changes, and
  the wheel is built in release once per interpreter and reused until a source of it changes.
- An interrupted run leaves nothing that a later run would take for whole: every stamp is written last.
- The last line on stdout is the environment's Python, so that shell scripts can use it; all else goes
  to stderr.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "scripts" / "requirements"

# What the wheel is made of. Rust tests and examples are not: changing one rebuilds nothing.
WHEEL_SOURCES = (
    "Cargo.toml",
    "Cargo.lock",
    "pyproject.toml",
    "README.md",
    "LICENSE-*",
    "rust-toolchain*",
    ".cargo/config.toml",
    "crates/*/Cargo.toml",
    "crates/*/build.rs",
    "crates/*/src/**/*.rs",
    "python/**/*.py",
    "python/**/*.pyi",
    "python/**/py.typed",
)
# Environment variables that change what rustc makes of the same sources.
WHEEL_VARIABLES = ("RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET")


class SetupError(Exception):
    """A reason to stop that is told in one line."""


def say(text: str) -> None:
    print(f"oneloop: {text}", file=sys.stderr, flush=True)


def run(*command: str | Path, **environment: str) -> None:
    """Run a command with its output on our stderr; a failure names the command."""
    sys.stderr.flush()
    status = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        check=False,
    ).returncode
    if status != 0:
        raise SetupError(f"failed with status {status}: {' '.join(str(part) for part in command)}")


def digest(*parts: str | bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:16]


def interpreter_tag() -> str:
    """A directory name for this interpreter: readable, and different for every build of it."""
    build = digest(sys.version, str(sysconfig.get_config_var("SOABI")), sys.base_prefix)
    abi = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return f"cpython-{platform.python_version()}{abi}-{build[:8]}"


# -- the virtual environment ------------------------------------------------------------------


def ensure_venv_module() -> None:
    """Debian splits ensurepip off into a package of its own."""
    if importlib.util.find_spec("ensurepip") is None:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        say(f"this Python cannot make environments; installing {package}")
        run(ROOT / "scripts" / "debian-packages", package)


def prepare_venv(directory: Path, groups: list[str]) -> Path:
    python = directory / "bin" / "python"
    stamp = directory / "oneloop-interpreter"
    fits = stamp.is_file() and stamp.read_text() == interpreter_tag() and python.exists()
    # pip adds and never takes away: after a change of requirements, only a new environment has what they say.
    if not fits or any(stamp.read_text() != wanted for stamp, wanted in requirement_stamps(directory)):
        ensure_venv_module()
        say(f"making {directory} for CPython {platform.python_version()}")
        shutil.rmtree(directory, ignore_errors=True)
        run(sys.executable, "-m", "venv", directory)
        stamp.write_text(interpreter_tag())
    for group in groups:
        install_requirements(python, directory, group)
    return python


def install_requirements(python: Path, directory: Path, group: str) -> None:
    requirements = REQUIREMENTS / f"{group}.txt"
    if not requirements.is_file():
        raise SetupError(f"no such requirements: {requirements}")
    stamp = directory / f"oneloop-requirements-{group}"
    if stamp.is_file():  # of this content, see above
        return
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "install", "--no-deps", "--requirement", requirements)
    run(*pip, "check")  # the files pin whole trees: something that is left out shows here
    stamp.write_text(digest(requirements.read_bytes()))


def requirement_stamps(directory: Path) -> Iterator[tuple[Path, str]]:
    """For each group that was installed: the stamp, and what it would say today."""
    for stamp in directory.glob("oneloop-requirements-*"):
        requirements = REQUIREMENTS / f"{stamp.name.rpartition('-')[2]}.txt"
        yield stamp, digest(requirements.read_bytes()) if requirements.is_file() else ""


# -- the wheel --------------------------------------------------------------------------------


def wheel_key() -> str:
    """Names the wheel by everything that it is made of."""
    rustc = subprocess.run(["rustc", "-vV"], capture_output=True, check=True, cwd=ROOT).stdout
    parts: list[str | bytes] = [interpreter_tag(), rustc]
    parts += [f"{name}={os.environ.get(name, '')}" for name in WHEEL_VARIABLES]
    parts.append((REQUIREMENTS / "build.txt").read_bytes())
    for path in sorted({path for pattern in WHEEL_SOURCES for path in ROOT.glob(pattern)}):
        parts += [str(path.relative_to(ROOT)), path.read_bytes()]
    return digest(*parts)


def build_wheel(python: Path) -> tuple[str, Path]:
    """The wheel of these sources for this interpreter, built unless it is there already."""
    key = wheel_key()
    shelf = ROOT / ".cache" / "wheels" / interpreter_tag()
    done = shelf / key
    if not done.is_dir():
        say(f"building the wheel for CPython {platform.python_version()}")
        partial = shelf / "partial"
        shutil.rmtree(shelf, ignore_errors=True)  # the wheel of older sources has no further use
        # A target directory for each interpreter: PyO3 is configured by it, so a shared one would
        # be rebuilt at every change of interpreter, and a chroot's C library may be another too.
        target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / interpreter_tag()
        run(
            *(python, "-m", "maturin", "build", "--release", "--locked", "--quiet"),
            *("--interpreter", python, "--target-dir", target, "--out", partial),
        )
        partial.rename(done)
    (wheel,) = done.glob("*.whl")
    return key, wheel


def install_wheel(python: Path, directory: Path) -> None:
    key, wheel = build_wheel(python)
    stamp = directory / "oneloop-wheel"
    if stamp.is_file() and stamp.read_text() == key:
        return
    stamp.unlink(missing_ok=True)
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "install", "--no-deps", "--no-index", "--force-reinstall", wheel)
    # From outside the checkout: what is imported has to be what was installed.
    run(python, "-I", "-c", "import oneloop._core")
    stamp.write_text(key)


def main() -> int:
    parser = argparse.ArgumentParser(description="Prepare an environment with oneloop installed.")
    parser.add_argument("--venv", default=os.environ.get("VENV") or ".venv", help="where it goes (default .venv)")
    parser.add_argument("groups", nargs="*", help="files in scripts/requirements to install")
    options = parser.parse_args()
    directory = ROOT / options.venv
    try:
        # Two makes in one checkout wait for each other instead of building on each other's ruins.
        (ROOT / ".cache").mkdir(exist_ok=True)
        with open(ROOT / ".cache" / f"lock-{interpreter_tag()}", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            python = prepare_venv(directory, ["build", *options.groups])
            install_wheel(python, directory)
    except SetupError as failure:
        say(str(failure))
        return 1
    print(python)
    return 0


if __name__ == "__main__":
    sys.exit(main())
