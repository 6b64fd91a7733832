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
    "claim",
    "read",
    "remove_leftovers",
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
    """The store cannot be written or read: disk full, read-only, no permission.

    What it holds is safe.
    """


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


def read(path: Path) -> bytes:
    """The content of a file of the store.

    Raises:
        FileNotFoundError: it has gone.
        StoreError: the machine refused (permissions, open files, a failing disk); that
            says nothing against the file.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(
            error.errno,
            f"cannot read from the store ({error.strerror}); what is stored is left as "
            "it is: mend that, then run again",
            str(path),
        ) from error


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes left: temporary files and markers.

    Temporary files of other machines count as left when they are over a day old.
    """
    for path in folder.glob("*.running"):
        with claim(path, "") as mine:
            del mine  # a marker that can be claimed was left; giving it up removes it
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
def claim(path: Path, text: str, *, wait: bool = False) -> Iterator[bool]:
    """Say that this process, and no other, is at work on something; says whether it is.

    The file at ``path`` is held by an exclusive `flock`, which the kernel drops when the
    process dies, however it dies; then the claim is free. It is removed at the end.

    Where no such file can be made or locked (a read-only store, a file system without
    locks) everybody's claim is granted: processes cannot see one another there.

    Args:
        path: the file, beside what is worked on.
        text: what others may read in it.
        wait: until a claim of another process ends.
    """
    handle = None
    try:
        handle = _lock(path, wait)
    except BlockingIOError:
        yield False
        return
    except OSError:
        pass
    if handle is not None:
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.write(handle, text.encode())
    try:
        yield True
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                path.unlink()  # while it is locked, so that nobody else's goes
            os.close(handle)


def _lock(path: Path, wait: bool) -> int:
    """A locked handle of the file that lies at ``path``.

    Raises:
        BlockingIOError: somebody else has locked it.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # Who had it before may have removed it: then the lock is on nothing.
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


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
