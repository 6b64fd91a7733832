"""What the claims need to know of the book: its chapters, and which have been run."""

from pathlib import Path

from lazyrich.core import book as contents
from lazyrich.core import project


def chapters(toc: Path | None = None) -> list[str] | None:
    """Slugs of the pages in the book's table of contents, ``None`` where there is none.

    Raises:
        ValueError: the table of contents is malformed.
    """
    path = project.root() / "_toc.yml" if toc is None else toc
    return contents.slugs(path) if path.is_file() else None


def executed() -> list[str]:
    """Slugs of the chapters of which an executed notebook lies in ``_build``."""
    folder = project.root() / "_build" / "executed" / "book"
    return sorted(path.stem for path in folder.glob("*.ipynb"))
