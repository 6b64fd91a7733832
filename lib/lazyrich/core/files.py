"""Files that are whole or absent, whatever kills the process that writes them."""

import contextlib
import os
import platform
import uuid
from pathlib import Path


def temporary_name() -> str:
    """A name beside the target that says whose it is: machine and process."""
    return f".{platform.node()}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp"


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write beside, flush to disk, rename into place.

    A reader sees the old file or the new one.

    Raises:
        OSError: the file system refused; what was at ``path`` stays as it was.
    """
    payload = content.encode() if isinstance(content, str) else content
    beside = path.with_name(temporary_name())
    try:
        with beside.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def write_if_changed(path: Path, text: str) -> bool:
    """Write only if the content differs; says whether it did.

    An unchanged file keeps its date, so that what is built from it is left alone. The
    folder is made.

    Raises:
        OSError: the file system refused; what was at ``path`` stays as it was.
    """
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)
    return True


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; a no-op where folders cannot be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems cannot; the rename itself has happened
    finally:
        os.close(handle)
