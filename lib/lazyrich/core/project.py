"""Where the project lies: the folder that holds ``pyproject.toml`` and ``_build``."""

from pathlib import Path


def root() -> Path:
    """The checkout this package is part of, else the current folder.

    An installed wheel has no checkout; then the nearest folder above the current one
    that holds a book (``_toc.yml`` beside ``book/``) counts, and the current one if
    there is none.
    """
    checkout = Path(__file__).resolve().parents[3]
    if (checkout / "pyproject.toml").is_file() and (checkout / "lib").is_dir():
        return checkout
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").is_file() and (folder / "book").is_dir():
            return folder
    return here
