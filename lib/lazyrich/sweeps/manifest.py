"""What every file of a store holds, in one file that is quick to read.

A line a result: a checksum, then the file's name, its full digest, the coordinates of its
members and how they ended. Lines are only ever appended, each in one write, so that
several processes may share the manifest; a line that was cut or damaged is passed over. It
is a copy and never more: a line counts only for a file whose content has exactly this
digest, what has no line is read from the file itself, and the next run adds the line.
"""

import contextlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lazyrich.sweeps.study import AxisValue

NAME = "manifest.jsonl"


@dataclass(frozen=True)
class Entry:
    """One stored file.

    Attributes:
        name: of the file.
        digest: SHA-256 of its content, all of it.
        members: coordinates of its members, in the order of the axes.
        status: how each of them ended.
    """

    name: str
    digest: str
    members: tuple[tuple[AxisValue, ...], ...]
    status: tuple[str, ...]

    def line(self) -> bytes:
        """The entry as a line that notices damage."""
        text = json.dumps([self.name, self.digest, self.members, self.status]).encode()
        # A line feed on both sides: what was cut before it does not spoil this one.
        return b"\n%08x %s\n" % (zlib.crc32(text), text)

    @classmethod
    def parse(cls, line: bytes) -> "Entry | None":
        """The inverse of ``line``; None if it is damaged or cut."""
        code, _, text = line.strip(b"\n").partition(b" ")
        if not text or code != b"%08x" % zlib.crc32(text):
            return None
        name, digest, members, status = json.loads(text)
        return cls(name, digest, tuple(map(tuple, members)), tuple(status))


class Manifest:
    """The manifest of one folder; what others append is seen when it is read again."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._inode, self._at = 0, 0
        self._entries: dict[str, Entry] = {}
        self._by_key: dict[str, list[str]] = {}

    def __reduce__(self) -> tuple[type["Manifest"], tuple[Path]]:
        """Sent to another process it is its place alone."""
        return Manifest, (self.path.parent,)

    def read(self) -> Mapping[str, Entry]:
        """Entries by name of file; only what was appended since the last call is read.

        Without a manifest, or where it cannot be read, there are none.
        """
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_size < self._at or found.st_ino != self._inode:  # made anew
                    self._forget(found.st_ino)
                file.seek(self._at)
                content = file.read()
        except OSError:
            self._forget(0)
            return {}
        whole = content[: content.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines(keepends=True):
            entry = Entry.parse(line)
            if entry is not None:
                self._entries[entry.name] = entry
                key, _, rest = entry.name.partition(".")
                self._by_key.setdefault(key, []).append(rest.removesuffix(".nc"))
        return self._entries

    def _forget(self, inode: int) -> None:
        self._inode, self._at, self._entries, self._by_key = inode, 0, {}, {}

    def names(self, key: str) -> list[str]:
        """Names of files that were stored under a key, also by others since."""
        self.read()
        return [f"{key}.{digest}.nc" for digest in self._by_key.get(key, ())]

    def append(self, *entries: Entry) -> None:
        """Add lines, in one write; where that fails the files speak for themselves."""
        if not entries:
            return
        with contextlib.suppress(OSError):
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, b"".join(entry.line() for entry in entries))
            finally:
                os.close(handle)
