"""Content keys and stamps: what a chapter's outputs depend on, and what they came from.

A chapter runs again exactly when its key differs from the one in its stamp. The key
covers code cells (not prose), the library files behind their imports, parameters,
result tables, the lock, Python, and the keys of the chapters it needs.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lazyrich.publish.chapter import Chapter, needed, tags
from lazyrich.publish.imports import closure
from lazyrich.publish.tree import Tree

# Raised when the treatment of outputs changes, so that all chapters run again.
FORMAT = 1
# Tags that change what is executed; others only change how it is shown.
EXECUTION_TAGS = {"parameters", "raises-exception", "skip-execution"}


def digest(content: bytes | str) -> str:
    """A short name for the content."""
    data = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:20]


@dataclass(frozen=True)
class Key:
    """What the outputs of a chapter depend on, part by part, and one hash for all."""

    parts: dict[str, dict[str, str]]

    @property
    def value(self) -> str:
        """One word that is equal exactly if all parts are."""
        return digest(json.dumps(self.parts, sort_keys=True))

    def changed(self, old: dict[str, dict[str, str]] | None) -> str:
        """In words, what differs from the parts of an older key."""
        if not old:
            return "never executed"
        found = []
        for name, part in self.parts.items():
            before = old.get(name, {})
            entries = sorted(
                entry
                for entry in part.keys() | before.keys()
                if part.get(entry) != before.get(entry)
            )
            if entries:
                shown = ", ".join(entries[:3]) + (", ..." if len(entries) > 3 else "")
                found.append(f"{name} ({shown})")
        return "changed: " + "; ".join(found) if found else "unchanged"


def keys(tree: Tree, chapters: Mapping[str, Chapter]) -> dict[str, Key]:
    """The current key of every chapter.

    Raises:
        ValueError: a chapter without exactly one ``parameters`` cell.
    """
    found: dict[str, Key] = {}

    def visit(name: str) -> Key:
        if name not in found:
            before = {
                other: visit(other).value for other in needed(chapters[name], chapters)
            }
            found[name] = _key(tree, chapters[name], before)
        return found[name]

    for name in chapters:
        visit(name)
    return found


def _key(tree: Tree, chapter: Chapter, before: dict[str, str]) -> Key:
    cells = [cell for cell in chapter.notebook().cells if cell.cell_type == "code"]
    library = {
        str(path.relative_to(tree.package)): digest(path.read_bytes())
        for path in sorted(closure([cell.source for cell in cells], tree.package))
    }
    folder = tree.root / "results"
    results = {
        str(path.relative_to(folder)): digest(path.read_bytes())
        for pattern in chapter.results
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }
    lock = digest(tree.lock.read_bytes()) if tree.lock.is_file() else "none"
    return Key(
        {
            "code": {
                f"cell {number}": digest(
                    cell.source + str(sorted(EXECUTION_TAGS & set(tags(cell))))
                )
                for number, cell in enumerate(cells, 1)
            },
            "library": library,
            "parameters": {
                name: str(value) for name, value in tree.settings.parameters().items()
            },
            "results": results,
            "environment": {
                "lock": lock,
                "python": ".".join(platform.python_version_tuple()[:2]),
                "format": str(FORMAT),
            },
            "chapters needed": before,
        }
    )


def stamp_path(tree: Tree, chapter: Chapter) -> Path:
    """Where the stamp of the chapter lies, beside its executed notebook."""
    return tree.executed / f"{chapter.page}.json"


def notebook_path(tree: Tree, chapter: Chapter) -> Path:
    """Where the executed notebook of the chapter lies."""
    return tree.executed / f"{chapter.page}.ipynb"


def read_stamp(path: Path) -> dict[str, Any] | None:
    """A stamp, or None if there is none that can be read."""
    try:
        stamp = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) and "key" in stamp else None


def records_digest(tree: Tree, chapter: Chapter) -> str | None:
    """Hash of what the chapter recorded, or None if it records nothing."""
    path = tree.records(chapter.name)
    return digest(path.read_bytes()) if path.is_file() else None


def is_current(tree: Tree, chapter: Chapter, key: Key) -> bool:
    """Whether the stored outputs are those that the chapter would produce now.

    What the chapter recorded counts as an output: if it is gone or was replaced by a
    run at other settings, the chapter runs again.
    """
    stamp = read_stamp(stamp_path(tree, chapter))
    return (
        stamp is not None
        and stamp["key"] == key.value
        and notebook_path(tree, chapter).is_file()
        and stamp.get("records") == records_digest(tree, chapter)
    )
