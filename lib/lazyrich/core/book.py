"""The book's table of contents, ``_toc.yml``: which pages there are, in which order."""

from pathlib import Path
from typing import Any

import yaml


def pages(toc: Path) -> list[str]:
    """Every page of a table of contents in reading order, such as ``book/intro``.

    Raises:
        ValueError: the file is missing, is not YAML, or has no ``root``.
    """
    if not toc.is_file():
        raise ValueError(f"a book needs a table of contents, got no file {toc.name}")
    try:
        content = yaml.safe_load(toc.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{toc.name}: {error}") from None
    if not isinstance(content, dict) or "root" not in content:
        raise ValueError(f"{toc.name} must name the first page under 'root'")
    return [content["root"], *_files(content)]


def slugs(toc: Path) -> list[str]:
    """The names of the pages without their folders, in reading order.

    Raises:
        ValueError: as ``pages``.
    """
    return [page.rpartition("/")[2] for page in pages(toc)]


def _files(node: Any) -> list[str]:
    if isinstance(node, list):
        return [page for part in node for page in _files(part)]
    if not isinstance(node, dict):
        return []
    own = [node["file"]] if "file" in node else []
    return own + [page for part in node.values() for page in _files(part)]
