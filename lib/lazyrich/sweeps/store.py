"""Where results are kept: one NetCDF4 file a chunk, written whole, never overwritten.

The results of one study lie in ``<store>/<study>/v<version>-<hash of settings and
axes>/``. A file is named ``<key>.<digest>.nc``. The key is a hash of the chunk's fully
resolved spec (study, version, settings, coordinates of its members). The digest is the
beginning of the file's own SHA-256 (``sha256sum`` shows it), so that a flipped bit
anywhere in the file, a truncation or a foreign file cannot pass for a result. A file is
read back before it is stored, and large arrays carry Fletcher-32 checksums, which other
NetCDF programs verify.

Which members are done is read off the files' coordinates, so results stay valid when the
chunks are cut otherwise, as they are on another device. The manifest beside the files
(`manifest`) spares opening them. While a chunk is computed it is claimed, so that two runs
that share a store share the work too; a claim ends with its process.
"""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from lazyrich.core import project
from lazyrich.sweeps import netcdf
from lazyrich.sweeps import table as tables
from lazyrich.sweeps.checkpoint import Checkpoint
from lazyrich.sweeps.files import (
    StoreError,
    claim,
    marked_running,
    read,
    remove_leftovers,
    temporary_name,
    write_atomically,
)
from lazyrich.sweeps.manifest import Entry, Manifest
from lazyrich.sweeps.netcdf import Table
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
        unlisted: sound files that the manifest does not have.
    """

    tables: list[Table] = field(default_factory=list)
    status: dict[tuple[AxisValue, ...], str] = field(default_factory=dict)
    damaged: list[Damage] = field(default_factory=list)
    unlisted: list[Entry] = field(default_factory=list)


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
        self.manifest = Manifest(self.folder)

    def key(self, members: Iterable[Member]) -> str:
        """Hash of the fully resolved spec of a chunk with these members."""
        return self._key([[member[axis] for axis in self.axes] for member in members])

    def _key(self, members: Sequence[Sequence[AxisValue]]) -> str:
        values = canonical_json(members)
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
        stored = {path.name.partition(".")[0] for path in self._files()}
        for path in self.folder.glob("*.checkpoint"):
            if path.stem in stored:
                with contextlib.suppress(OSError):
                    path.unlink()

    def checkpoint(self, chunk: Chunk) -> Checkpoint:
        """Where this chunk keeps its state while it runs."""
        key = self.key(chunk.members)
        return Checkpoint(self.folder / f"{key}.checkpoint", key)

    def claim(
        self, chunk: Chunk, *, wait: bool = False
    ) -> contextlib.AbstractContextManager[bool]:
        """Compute this chunk here and nowhere else; see `files.claim`."""
        path = self.folder / f"{self.key(chunk.members)}.running"
        return claim(path, str(len(chunk)), wait=wait)

    def has(self, chunk: Chunk) -> bool:
        """Whether a file of exactly this chunk was stored, by anybody, and is there."""
        key = self.key(chunk.members)
        return any(
            name.startswith(f"{key}.") and (self.folder / name).is_file()
            for name in self.manifest.names(key)
        )

    def pack(
        self, chunk: Chunk, table: xr.Dataset, attrs: Mapping[str, Any]
    ) -> tuple[Entry, bytes]:
        """What the manifest says of the file for a checked table, and its content.

        Raises:
            ValueError: the table would not be read back as it is.
        """
        full = Table.of(table)
        full.attrs = {**full.attrs, "spec": self.spec, **attrs}
        content = netcdf.pack(full)
        digest = hashlib.sha256(content).hexdigest()
        name = f"{self.key(chunk.members)}.{digest[:16]}.nc"
        return self._entry(name, digest, full), content

    def put(self, entry: Entry, content: bytes) -> Path:
        """Store a packed table.

        Raises:
            StoreError: the file system refused; what is stored is untouched.
        """
        path = self.folder / entry.name
        write_atomically(path, content)
        self.manifest.append(entry)
        return path

    def look(self, keep_tables: bool = False) -> Contents:
        """Read and verify all files; nothing is changed.

        Args:
            keep_tables: return the tables too, not only whom they cover.

        Raises:
            StoreError: the machine could not read a file, which may be sound.
        """
        found = Contents()
        listed = self.manifest.read()
        for path in self._files():
            try:
                content = read(path)
                digest = self._verify(path.name, content)
                entry = listed.get(path.name)
                if entry is not None and entry.digest != digest:
                    entry = None
                if keep_tables or entry is None:
                    names = None if keep_tables else {*self.axes, "status"}
                    table = self._unpack(content, names)
                    read_off = self._entry(path.name, digest, table)
                    if read_off != entry:
                        found.unlisted.append(read_off)
                    entry = read_off
                    if keep_tables:
                        found.tables.append(table)
                if self._key(entry.members) != path.name.partition(".")[0]:
                    if keep_tables:
                        found.tables.pop()
                    raise ValueError("foreign: its name is not the hash of its members")
            except FileNotFoundError:
                continue  # set aside by another process since the folder was listed
            except (ValueError, TypeError) as error:
                found.damaged.append(Damage(path, str(error)))
                continue
            for member, word in zip(entry.members, entry.status, strict=True):
                found.status.setdefault(member, word)
        return found

    def list_all(self, found: Contents) -> None:
        """Let the manifest have what a look found to be missing from it."""
        self.manifest.append(*found.unlisted)

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

    def _files(self) -> list[Path]:
        try:
            with os.scandir(self.folder) as entries:
                names = sorted(e.name for e in entries if e.name.endswith(".nc"))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(
                error.errno,
                f"cannot read the store ({error.strerror}); choose another folder",
                str(self.folder),
            ) from error
        return [self.folder / name for name in names if not name.startswith(".")]

    def _verify(self, name: str, content: bytes) -> str:
        """The digest of a file's content; a ValueError says what is wrong with it."""
        key, _, digest = name.removesuffix(".nc").partition(".")
        if len(key) != 16 or len(digest) != 16:
            raise ValueError("foreign: not named like a result")
        found = hashlib.sha256(content).hexdigest()
        if found[:16] != digest:
            raise ValueError(
                f"damaged: its {len(content)} bytes do not match the digest in its name"
            )
        return found

    def _unpack(self, content: bytes, names: Collection[str] | None = None) -> Table:
        """The table of a sound file; a ValueError says if it is not one of ours."""
        try:
            table = netcdf.unpack(content, names)
        except ValueError as error:
            raise ValueError(f"foreign: {error}") from error
        if table.attrs.get("spec") != self.spec:
            raise ValueError("foreign: a result of another study, version or settings")
        return table

    def _entry(self, name: str, digest: str, table: Table) -> Entry:
        members = tables.members_of(table, self.axes)
        return Entry(
            name,
            digest,
            tuple(coordinates(member) for member in members),
            tuple(tables.status_words(table)),
        )


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
