"""Content keys and stamps: what a chapter's outputs depend on, and what they came from.

A chapter runs again when its key differs from the one in its stamp. The key covers code
cells (not prose), the definitions of the library that they rest on, what the chapter has
to record, parameters, result tables, the lock, Python, and the keys of the chapters it
needs. It runs again, too, when its outputs are gone or were changed, and when the
questions that it asked about the data of this machine have other answers now.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lazyrich.claims import check
from lazyrich.core import presence
from lazyrich.core.files import write_if_changed
from lazyrich.publish.chapter import Chapter, tags
from lazyrich.publish.imports import Library, closure
from lazyrich.publish.tree import Tree

# Raised when the treatment of outputs changes, so that all chapters run again.
FORMAT = 2
# Modules whose part is done again when pages are built: reasons, styles and verdicts
# execute nothing. What a chapter has to record counts by its content.
RENDERED = tuple(
    f"claims.{name}"
    for name in (
        *("_yaml", "book", "check", "claim", "criterion", "erratum"),
        *("markup", "pages", "reference", "table", "verdict"),
    )
)
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
        ValueError: a chapter without exactly one ``parameters`` cell, or malformed
            checks.
    """
    notes = tree.build / "keys.json"
    inputs = _inputs(tree, chapters)
    noted = _read(notes)
    if noted.get("inputs") == inputs:
        return {name: Key(parts) for name, parts in noted["parts"].items()}
    library = Library(tree.package, tree.notes)
    checks = check.read_folder(tree.package / "claims" / "checks")
    found: dict[str, Key] = {}

    def visit(name: str) -> Key:
        if name not in found:
            chapter = chapters[name]
            before = {other: visit(other).value for other in chapter.needs}
            own = {i: c for i, c in checks.items() if c.chapter == name}
            found[name] = _key(tree, chapter, library, own, before)
        return found[name]

    for name in chapters:
        visit(name)
    library.remember()
    parts = {name: key.parts for name, key in found.items()}
    write_if_changed(notes, json.dumps({"inputs": inputs, "parts": parts}))
    return found


def _inputs(tree: Tree, chapters: Mapping[str, Chapter]) -> str:
    """One word for all files that keys are made from: if it is the same, keys are."""
    here = Path(__file__).parent
    files = [tree.toc, tree.lock, *(chapter.path for chapter in chapters.values())]
    for folder in (here, here.parent / "claims", tree.package, tree.root / "results"):
        files += (p for p in sorted(folder.rglob("*")) if "__pycache__" not in p.parts)
    content = {str(path): file_digest(path) for path in files}
    return digest(
        json.dumps([tree.settings.parameters(), platform.python_version(), content])
    )


def _read(path: Path) -> dict[str, Any]:
    """A JSON object, empty if there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _key(
    tree: Tree,
    chapter: Chapter,
    library: Library,
    checks: Mapping[str, check.Check],
    before: dict[str, str],
) -> Key:
    cells = [cell for cell in chapter.notebook().cells if cell.cell_type == "code"]
    # A cell that asks for a verdict has it among its outputs.
    judges = any(".verdict" in cell.source for cell in cells)
    parameters = chapter.parameters(tree.settings)
    return Key(
        {
            "code": {
                f"cell {number}": digest(
                    cell.source + str(sorted(EXECUTION_TAGS & set(tags(cell))))
                )
                for number, cell in enumerate(cells, 1)
            },
            "library": closure(
                [cell.source for cell in cells], library, () if judges else RENDERED
            ),
            "claims": {
                claim_id: _asked(one, str(parameters["scale"]), judges)
                for claim_id, one in checks.items()
            },
            "parameters": {name: str(value) for name, value in parameters.items()},
            "results": _results(tree, chapter),
            "environment": {
                "lock": digest(tree.lock.read_bytes()) if tree.lock.is_file() else "",
                "python": ".".join(platform.python_version_tuple()[:2]),
                "format": str(FORMAT),
            },
            "chapters needed": before,
        }
    )


def _asked(one: check.Check, scale: str, judges: bool) -> str:
    """What a recorder asks of a claim: quantities and their kinds; bounds if judged."""
    return ", ".join(
        f"{name} {'true or false' if criterion.form == 'is' else 'number'}"
        + (f" {criterion.expected} {criterion.tolerance}" if judges else "")
        for name, criterion in one.at(scale).items()
    )


def _results(tree: Tree, chapter: Chapter) -> dict[str, str]:
    folder = tree.root / "results"
    return {
        str(path.relative_to(folder)): digest(path.read_bytes())
        for pattern in chapter.results
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }


def home(tree: Tree, chapter: Chapter) -> Tree:
    """The tree in which the products of the chapter lie.

    A chapter that exists at one scale, or never leaves the CPU, is executed once for all
    books that differ in that alone.
    """
    return replace(tree, settings=chapter.at(tree.settings))


def stamp_path(tree: Tree, chapter: Chapter) -> Path:
    """Where the stamp of the chapter lies, beside its executed notebook."""
    return home(tree, chapter).executed / f"{chapter.page}.json"


def notebook_path(tree: Tree, chapter: Chapter) -> Path:
    """Where the executed notebook of the chapter lies."""
    return home(tree, chapter).executed / f"{chapter.page}.ipynb"


def read_stamp(path: Path) -> dict[str, Any] | None:
    """A stamp, or None if there is none that can be read."""
    stamp = _read(path)
    return stamp if "key" in stamp else None


def records_path(tree: Tree, chapter: Chapter) -> Path:
    """What the chapter measured, written by the chapter itself."""
    return home(tree, chapter).records(chapter.name)


def file_digest(path: Path) -> str | None:
    """Hash of a file, or None if there is none."""
    return digest(path.read_bytes()) if path.is_file() else None


def reason(tree: Tree, chapter: Chapter, key: Key) -> str:
    """In words, why the chapter has to run; empty if it has not.

    The stored outputs have to be those that the chapter would produce now: made under
    the same key, from the same data, and left as they were. What the chapter recorded
    counts as an output.
    """
    stamp = read_stamp(stamp_path(tree, chapter))
    if stamp is None:
        return "never executed"
    if stamp["key"] != key.value:
        return key.changed(stamp.get("parts"))
    moved = presence.changed(stamp.get("data", {}).get("answers", {}))
    if moved:
        return f"other data are here now ({', '.join(moved[:2])})"
    if stamp.get("notebook") != file_digest(notebook_path(tree, chapter)):
        return "its notebook is gone or was changed"
    if stamp.get("records") != file_digest(records_path(tree, chapter)):
        return "its records are gone or were replaced"
    return ""


def is_current(tree: Tree, chapter: Chapter, key: Key) -> bool:
    """Whether the stored outputs are those that the chapter would produce now."""
    return not reason(tree, chapter, key)
