"""Where the project lies: the folder that holds ``pyproject.toml`` and ``_build``."""

from pathlib import Path

_ABOVE = Path(__file__).resolve().parents[3]


def is_checkout() -> bool:
    """Whether this package is part of a checkout, not installed somewhere."""
    return (_ABOVE / "pyproject.toml").is_file() and (_ABOVE / "lib").is_dir()


def root() -> Path:
    """The checkout this package is part of, else the current folder.

    An installed wheel has no checkout; then the nearest folder above the current one
    that holds a book (``_toc.yml`` beside ``book/``) counts, and the current one if
    there is none.
    """
    if is_checkout():
        return _ABOVE
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").is_file() and (folder / "book").is_dir():
            return folder
    return here
