"""What the claims need to know of the book: its chapters, and which have been run."""

from pathlib import Path
from typing import Any

from lazyrich.claims import _yaml
from lazyrich.core import project


def _files(node: Any) -> list[str]:
    """Every page named in a part of a table of contents, at any depth."""
    if isinstance(node, list):
        return [page for part in node for page in _files(part)]
    if not isinstance(node, dict):
        return []
    own = [node[key] for key in ("root", "file") if isinstance(node.get(key), str)]
    return own + [page for part in node.values() for page in _files(part)]


def chapters(toc: Path | None = None) -> list[str] | None:
    """Slugs of the pages in the book's table of contents, ``None`` where there is none.

    Raises:
        ValueError: the table of contents is not readable as YAML.
    """
    path = project.root() / "_toc.yml" if toc is None else toc
    if not path.is_file():
        return None
    return [Path(page).name for page in _files(_yaml.read(path))]


def executed() -> list[str]:
    """Slugs of the chapters of which an executed notebook lies in ``_build``."""
    folder = project.root() / "_build" / "executed" / "book"
    return sorted(path.stem for path in folder.glob("*.ipynb"))
