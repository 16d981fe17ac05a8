"""A Debian sid system in a directory: where CPython versions come from that the machine does not have.

Promises:
- `prepare` is idempotent and survives an interrupted run: the system is built under a temporary name
  and renamed when it is whole. Interpreters that are asked for later are added to it.
- Mounts live in a mount namespace of the command that needs them, so they end with its last process;
  nothing is ever left to unmount, however a run ends.
- apt inside the system uses the machine's own proxy, certificate and validity settings.

The checkout, the cache and the Rust toolchain appear inside under the paths that they have outside.
It needs root, as chroot does, and a Debian machine, for debootstrap and the archive's keys.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from environment import ROOT, SetupError, say

MIRROR = os.environ.get("DEBIAN_MIRROR") or "http://deb.debian.org/debian"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "oneloop"
SYSTEM = CACHE / "sid"

# make runs the project's targets inside; gcc is what Rust links with; procps and net-tools are used
# by CPython's own tests where they are there.
TOOLS = ("ca-certificates", "gcc", "libc6-dev", "make")
FOR_EACH_INTERPRETER = ("{0}", "{0}-dev", "{0}-venv", "lib{0}-testsuite")

# Runs inside the namespace. Its arguments: the system, then directories to bind, then `--`, then the
# command. /dev comes whole (ptys and shared memory are file systems below it).
ENTER = r"""
set -eu
system=$1; shift
mount --bind /proc "$system/proc"
mount --rbind /dev "$system/dev"
while [ "$1" != -- ]; do
    mkdir -p "$system$1"
    mount --bind "$1" "$system$1"
    shift
done
shift
exec chroot "$system" "$@"
"""


def installed(version: str) -> Path:
    """A file that is written when apt is done: an interpreter is in its place well before it is set up."""
    return SYSTEM / "var" / "lib" / f"oneloop-python{version}"


def has(version: str) -> bool:
    """Whether the interpreter, its tests and the means to make environments are all installed."""
    return installed(version).exists()


def prepare(versions: Sequence[str]) -> None:
    """Make the system if it is not there, and add the interpreters that it lacks."""
    if all(has(version) for version in versions):
        return
    if os.geteuid() != 0:
        raise SetupError(f"CPython {versions[0]} needs root here (debootstrap and chroot), or install it yourself")
    with alone() as lock:
        if not SYSTEM.is_dir():
            bootstrap(lock)
        adopt_machine_settings(SYSTEM)
        missing = [version for version in versions if not has(version)]
        if missing:
            add(missing, lock)


@contextmanager
def alone() -> Iterator[int]:
    """One process prepares; others wait for it.

    The lock's descriptor is handed to what it starts: should this process be killed, debootstrap and apt go on for
    a while, and whoever comes next has to wait for them too.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "sid.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def bootstrap(lock: int) -> None:
    subprocess.run([ROOT / "scripts" / "debian-packages", "debootstrap"], check=True)
    partial = CACHE / "sid.partial"
    remove(partial)
    say(f"making a Debian sid system in {SYSTEM} (about two minutes, once)")
    # In a namespace of its own too: debootstrap mounts /proc, and a killed one would leave it.
    log = CACHE / "sid.log"
    command = ["debootstrap", "--variant=minbase", "--include=ca-certificates", "sid", str(partial), MIRROR]
    with open(log, "wb") as output:
        status = subprocess.run(
            [*namespace(), *command], stdout=output, stderr=output, pass_fds=[lock], check=False
        ).returncode
    if status != 0:
        raise SetupError(f"debootstrap failed with status {status}: {last_line(log)} (all of it: {log})")
    # Nothing in here is worth an fsync, and documentation is a third of it.
    settings = partial / "etc" / "dpkg" / "dpkg.cfg.d" / "oneloop"
    settings.write_text("force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\n")
    partial.rename(SYSTEM)


def remove(system: Path) -> None:
    """Delete a system. Nobody's mounts are in sight (see above), but that is checked, not assumed."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    inside = [line.split()[4] for line in mounts if line.split()[4].startswith(f"{system}/")]
    if inside:
        raise SetupError(f"{inside[0]} is mounted inside {system}; unmount it first")
    if system.is_dir():
        shutil.rmtree(system)


def adopt_machine_settings(system: Path) -> None:
    """apt's network settings, name resolution and trusted certificates, as this machine has them."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    kept = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries", "Acquire::Force")
    lines = [line for line in dump.splitlines() if line.startswith(kept)]
    (system / "etc/apt/apt.conf.d/90machine").write_text("".join(f"{line}\n" for line in lines))
    for name in ("hosts", "resolv.conf"):
        shutil.copyfile(f"/etc/{name}", system / "etc" / name)
    inside = system / "usr/local/share/ca-certificates"
    inside.mkdir(parents=True, exist_ok=True)
    changed = False
    for certificate in Path("/usr/local/share/ca-certificates").glob("*.crt"):
        copy = inside / certificate.name
        if not copy.is_file() or copy.read_bytes() != certificate.read_bytes():
            shutil.copyfile(certificate, copy)
            changed = True
    if changed:
        quietly(["update-ca-certificates", "--fresh"])


def add(versions: Sequence[str], lock: int) -> None:
    quietly(["apt-get", "update"], lock)
    packages = list(TOOLS)
    for version in versions:
        known = subprocess.run(
            ["chroot", SYSTEM, "apt-cache", "show", f"python{version}"], capture_output=True, check=False
        )
        if known.returncode != 0:
            raise SetupError(f"CPython {version} is not in Debian sid now")
        packages += [name.format(f"python{version}") for name in FOR_EACH_INTERPRETER]
    say(f"adding CPython {', '.join(versions)} to {SYSTEM}")
    quietly(["dpkg", "--configure", "-a"], lock)  # after an interrupted run
    quietly(["apt-get", "install", "--yes", "--no-install-recommends", "--fix-broken", *packages], lock)
    quietly(["apt-get", "clean"], lock)
    for version in versions:
        installed(version).touch()


def quietly(command: list[str], *descriptors: int) -> None:
    """Run a command inside; show what it said only if it fails."""
    result = subprocess.run(
        [*enter([]), *command],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "PATH": SYSTEM_PATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=descriptors,
        check=False,
    )
    if result.returncode != 0:
        sys.stderr.write(result.stdout)
        raise SetupError(f"failed in {SYSTEM} with status {result.returncode}: {' '.join(command)}")


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "no output")


# -- running commands inside ------------------------------------------------------------------

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def namespace() -> list[str]:
    return ["unshare", "--mount", "--propagation", "private"]


def enter(binds: Sequence[Path]) -> list[str]:
    return [*namespace(), "sh", "-c", ENTER, "sh", str(SYSTEM), *map(str, binds), "--"]


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command inside, in the same directory as outside, and answer with its status."""
    if os.geteuid() != 0:
        raise SetupError("a command in the Debian sid system needs root (chroot)")
    adopt_machine_settings(SYSTEM)
    cargo = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    rustup = Path(os.environ.get("RUSTUP_HOME") or Path.home() / ".rustup")
    inside = {
        **os.environ,
        "LC_ALL": "C.UTF-8",
        "PATH": f"{cargo}/bin:{SYSTEM_PATH}",
        "CARGO_HOME": str(cargo),
        "RUSTUP_HOME": str(rustup),
        "PIP_CACHE_DIR": str(CACHE / "pip"),
        **environment,
    }
    # Directories of the machine outside that do not exist in here.
    for name in ("CARGO_TARGET_DIR", "PIP_FIND_LINKS", "TMPDIR", "VIRTUAL_ENV", "PYENV_VERSION"):
        inside.pop(name, None)
    # No rustup means that Rust came from a package: it is not under cargo's home and cannot be bound.
    binds = [directory for directory in (ROOT, CACHE, cargo, rustup) if directory.is_dir()]
    return subprocess.run([*enter(binds), "env", f"--chdir={Path.cwd()}", *command], env=inside, check=False).returncode
