"""The files of a store: whole or absent, and marked while someone works on them."""

import contextlib
import os
import platform
import re
import time
from collections.abc import Iterator
from pathlib import Path

from lazyrich.core import files
from lazyrich.core.files import temporary_name

__all__ = [
    "StoreError",
    "marked_running",
    "remove_leftovers",
    "running_marker",
    "temporary_name",
    "write_atomically",
]

try:
    import fcntl
except ImportError:  # not POSIX: markers then count for as long as they exist
    fcntl = None

_TEMPORARY = re.compile(r"\.(?P<host>.*)\.(?P<pid>\d+)\.[0-9a-f]{8}\.tmp")
_DAY = 86400.0


class StoreError(OSError):
    """The store cannot be written: disk full, read-only. What it holds is safe."""


def write_atomically(path: Path, payload: bytes) -> None:
    """Write beside, flush to disk, rename into place.

    Raises:
        StoreError: the file system refused; nothing is left behind at `path`.
    """
    try:
        files.write_atomically(path, payload)
    except OSError as error:
        raise StoreError(
            error.errno,
            f"cannot write to the store ({error.strerror}); what was stored before "
            "is safe: free space or choose another store, then run again",
            str(path.parent),
        ) from error


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes left: temporary files and markers.

    Temporary files of other machines count as left when they are over a day old.
    """
    for path in folder.glob("*.running"):
        if marked_running(path) is None:
            with contextlib.suppress(OSError):
                path.unlink()
    for path in folder.glob(".*.tmp"):
        found = _TEMPORARY.fullmatch(path.name)
        if found is None:
            continue
        with contextlib.suppress(OSError):
            here = found["host"] == platform.node()
            dead = here and not _alive(int(found["pid"]))
            if dead or time.time() - path.stat().st_mtime > _DAY:
                path.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def running_marker(path: Path, text: str) -> Iterator[None]:
    """Show others that work is in progress, for display only.

    The file is held by a shared `flock`, which the kernel drops when the process dies,
    so a stale marker is recognised. Nothing depends on it: where it cannot be made,
    work goes on without.
    """
    handle = None
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_SH)
        os.ftruncate(handle, 0)
        os.write(handle, text.encode())
    except OSError:
        pass
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)
            with contextlib.suppress(OSError):
                path.unlink()


def marked_running(path: Path) -> str | None:
    """Text of a marker whose process is alive, else None."""
    try:
        with path.open("r+") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return file.read()
                return None
            return file.read()
    except OSError:
        return None
