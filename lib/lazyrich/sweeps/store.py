"""Where results are kept: one NetCDF4 file a chunk, written whole, never overwritten.

The results of one study lie in ``<store>/<study>/v<version>-<hash of settings and
axes>/``. A file is named ``<key>.<digest>.nc``. The key is a hash of the chunk's fully
resolved spec (study, version, settings, coordinates of its members). The digest is the
beginning of the file's own SHA-256 (``sha256sum`` shows it), so that a flipped bit
anywhere in the file, a truncation or a foreign file cannot pass for a result. Inside,
arrays carry Fletcher-32 checksums, which other NetCDF programs verify.

There are no locks. Which members are done is read off the files' coordinates, so
results stay valid when the chunks are cut otherwise, as they are on another device.
"""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from lazyrich.core import project
from lazyrich.sweeps import table as tables
from lazyrich.sweeps.checkpoint import Checkpoint
from lazyrich.sweeps.files import (
    StoreError,
    marked_running,
    remove_leftovers,
    temporary_name,
    write_atomically,
)
from lazyrich.sweeps.study import AxisValue, Chunk, Member, Study, canonical_json

ENVIRONMENT = "LAZYRICH_STORE"


def default_store() -> Path:
    """``$LAZYRICH_STORE``, else ``_build/store`` of the project."""
    named = os.environ.get(ENVIRONMENT)
    return Path(named) if named else project.root() / "_build" / "store"


@dataclass(frozen=True)
class Damage:
    """A file that is not a whole result of ours, and why."""

    path: Path
    reason: str
    set_aside: bool = False


@dataclass
class Contents:
    """What a look into the store found.

    Attributes:
        tables: every sound table that was asked for.
        status: how each stored member ended, by its coordinates.
        damaged: files that are no results.
    """

    tables: list[xr.Dataset] = field(default_factory=list)
    status: dict[tuple[AxisValue, ...], str] = field(default_factory=dict)
    damaged: list[Damage] = field(default_factory=list)


def coordinates(member: Member) -> tuple[AxisValue, ...]:
    """What identifies a member within its study: its values, in axis order."""
    return tuple(member.values())


class Store:
    """The results of one study at one scale.

    Args:
        study: the study.
        scale: name of the scale.
        folder: top of the store; by default `default_store`.
    """

    def __init__(
        self, study: Study, scale: str, folder: Path | str | None = None
    ) -> None:
        at = study.scale(scale)
        self.top = Path(folder) if folder is not None else default_store()
        self.axes = tuple(at.grid)
        self.spec = canonical_json(
            {
                "study": study.name,
                "version": study.version,
                "settings": at.settings,
                "axes": self.axes,
            }
        )
        digest = hashlib.sha256(self.spec.encode()).hexdigest()[:12]
        self.folder = self.top / study.name / f"v{study.version}-{digest}"

    def key(self, members: Iterable[Member]) -> str:
        """Hash of the fully resolved spec of a chunk with these members."""
        values = canonical_json(
            [[member[axis] for axis in self.axes] for member in members]
        )
        return hashlib.sha256(f"{self.spec}\n{values}".encode()).hexdigest()[:16]

    def prepare(self) -> None:
        """Make the folder and prove that it can be written.

        Raises:
            StoreError: it cannot.
        """
        make_folder(self.folder)
        probe = self.folder / temporary_name()
        write_atomically(probe, b"lazyrich")
        probe.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Delete what killed runs left: halves of files, and checkpoints of stored chunks.

        In a store that cannot be written it all stays.
        """
        remove_leftovers(self.folder)
        for path in self.folder.glob("*.checkpoint"):
            if any(self.folder.glob(f"{path.stem}.*.nc")):
                with contextlib.suppress(OSError):
                    path.unlink()

    def checkpoint(self, chunk: Chunk) -> Checkpoint:
        """Where this chunk keeps its state while it runs."""
        return Checkpoint(self.folder / f"{self.key(chunk.members)}.checkpoint")

    def marker(self, chunk: Chunk) -> Path:
        """Where this chunk says that it is running."""
        return self.folder / f"{self.key(chunk.members)}.running"

    def pack(
        self, chunk: Chunk, table: xr.Dataset, attrs: Mapping[str, Any]
    ) -> tuple[str, bytes]:
        """Name and content of the file for a checked table."""
        content = tables.encode(table.assign_attrs(spec=self.spec, **attrs))
        digest = hashlib.sha256(content).hexdigest()[:16]
        return f"{self.key(chunk.members)}.{digest}.nc", content

    def put(self, name: str, content: bytes) -> Path:
        """Store a packed table.

        Raises:
            StoreError: the file system refused; what is stored is untouched.
        """
        path = self.folder / name
        write_atomically(path, content)
        return path

    def look(self, keep_tables: bool = False) -> Contents:
        """Read and verify all files; nothing is changed.

        Args:
            keep_tables: return the tables too, not only whom they cover.
        """
        found = Contents()
        for path in self._files():
            try:
                content = path.read_bytes()
                names = None if keep_tables else {*self.axes, "status"}
                table = self._unpack(path.name, content, names)
            except FileNotFoundError:
                continue  # set aside by another process since the folder was listed
            except (OSError, ValueError) as error:
                found.damaged.append(Damage(path, str(error)))
                continue
            members = tables.members_of(table, self.axes)
            for member, word in zip(members, tables.status_words(table), strict=True):
                found.status.setdefault(coordinates(member), word)
            if keep_tables:
                found.tables.append(table)
        return found

    def set_aside(self, damage: Damage) -> Damage:
        """Rename a damaged file to ``*.damaged`` and write the reason beside it.

        In a store that cannot be written the file stays, and is only reported.
        """
        aside = damage.path.with_name(f"{damage.path.name}.damaged")
        if aside.exists():
            aside = aside.with_name(
                f"{damage.path.name}.{uuid.uuid4().hex[:8]}.damaged"
            )
        try:
            damage.path.rename(aside)
            write_atomically(
                aside.with_name(f"{aside.name}.txt"), f"{damage.reason}\n".encode()
            )
        except OSError:
            return damage
        return Damage(aside, damage.reason, set_aside=True)

    def running(self) -> int:
        """Number of members that some process is working on now."""
        count = 0
        if self.folder.is_dir():
            for path in self.folder.glob("*.running"):
                text = marked_running(path)
                if text is not None and text.isdecimal():
                    count += int(text)
        return count

    def _files(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from sorted(self.folder.glob("*.nc"))

    def _unpack(
        self, name: str, content: bytes, names: Collection[str] | None = None
    ) -> xr.Dataset:
        """One verified table; a ValueError says what is wrong with the file."""
        key, _, digest = name.removesuffix(".nc").partition(".")
        if len(key) != 16 or len(digest) != 16:
            raise ValueError("foreign: not named like a result")
        if hashlib.sha256(content).hexdigest()[:16] != digest:
            raise ValueError(
                f"damaged: its {len(content)} bytes do not match the digest in its name"
            )
        table = tables.decode(content, names)
        if table.attrs.get("spec") != self.spec:
            raise ValueError("foreign: a result of another study, version or settings")
        if self.key(tables.members_of(table, self.axes)) != key:
            raise ValueError("foreign: its name is not the hash of its members")
        return table


def make_folder(folder: Path) -> None:
    """Create a folder of the store.

    Raises:
        StoreError: the file system refused.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            error.errno,
            f"cannot create the store ({error.strerror}); choose another one",
            str(folder),
        ) from error
