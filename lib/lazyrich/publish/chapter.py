"""Chapters as written: MyST text with code cells, read from the table of contents."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import yaml
from jupytext.myst import myst_to_notebook
from nbformat import NotebookNode

ALL = "all"


@dataclass(frozen=True)
class Chapter:
    """A page with code cells.

    ``needs`` names the chapters that have to run before (``all``: every chapter that
    does not itself need all), ``results`` are patterns of files under ``results/`` that
    the chapter draws. Both come from the header of the page.
    """

    name: str
    page: str
    path: Path
    needs: tuple[str, ...]
    results: tuple[str, ...]

    def notebook(self) -> NotebookNode:
        """The chapter as a notebook without outputs, with one ``parameters`` cell.

        Raises:
            ValueError: none or several cells are tagged ``parameters``; papermill would
                run the defaults in silence, whatever was asked for.
        """
        notebook = jupytext.reads(self.path.read_text(encoding="utf-8"), fmt="md:myst")
        tagged = sum("parameters" in tags(cell) for cell in notebook.cells)
        if tagged != 1:
            raise ValueError(
                f"{self.page}.md must have exactly one cell tagged 'parameters', "
                f"got {tagged}"
            )
        return notebook

    def line(self, code_cell: int) -> int:
        """Line of the source where the ``code_cell``-th code cell starts, from 1."""
        mapped = myst_to_notebook(
            self.path.read_text(encoding="utf-8"), add_source_map=True
        )
        starts = [
            line
            for cell, line in zip(
                mapped.cells, mapped.metadata["source_map"], strict=True
            )
            if cell.cell_type == "code"
        ]
        return starts[code_cell - 1] + 1


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", []))


def pages(toc: Path) -> list[str]:
    """Every page of a table of contents in reading order, such as ``book/intro``.

    Raises:
        ValueError: the file is missing or has no ``root``.
    """
    if not toc.is_file():
        raise ValueError(f"a book needs a table of contents, got no file {toc.name}")
    content = yaml.safe_load(toc.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or "root" not in content:
        raise ValueError(f"{toc.name} must name the first page under 'root'")
    return [content["root"], *_files(content)]


def _files(node: Any) -> list[str]:
    if isinstance(node, list):
        return [page for part in node for page in _files(part)]
    if not isinstance(node, dict):
        return []
    own = [node["file"]] if "file" in node else []
    return own + [page for part in node.values() for page in _files(part)]


def header(path: Path) -> dict[str, Any]:
    """The YAML header of a page; empty if there is none.

    Raises:
        ValueError: the header is not a YAML mapping.
    """
    text = path.read_text(encoding="utf-8")
    if not text.startswith("---\n"):
        return {}
    try:
        found = yaml.safe_load(text[4:].partition("\n---")[0])
    except yaml.YAMLError as error:
        raise ValueError(
            f"{path.name} has a header that is not YAML: {error}"
        ) from None
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} must have a header of keys and values")
    return found


def _words(value: Any, key: str, path: Path) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value or []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{path.name}: {key} must be a list of names, got {value!r}")
    return tuple(words)


def chapters(root: Path, toc: Path) -> dict[str, Chapter]:
    """The chapters of a book by name: pages of ``toc`` whose header names a kernel.

    Raises:
        ValueError: a page is missing, two chapters share a name, or a chapter needs one
            that does not exist.
    """
    found: dict[str, Chapter] = {}
    for page in pages(toc):
        path = root / f"{page}.md"
        if not path.is_file():
            raise ValueError(f"{toc.name} lists {page}, but there is no {page}.md")
        head = header(path)
        if "kernelspec" not in head:
            continue
        if path.stem in found:
            raise ValueError(f"{toc.name} lists two chapters named {path.stem}")
        needs = _words(head.get("needs"), "needs", path)
        results = _words(head.get("results"), "results", path)
        found[path.stem] = Chapter(path.stem, page, path, needs, results)
    for chapter in found.values():
        for name in needed(chapter, found):
            if name not in found:
                allowed = ", ".join(found)
                raise ValueError(
                    f"{chapter.page}.md needs {name!r}; the chapters are {allowed}"
                )
    _refuse_circles(found)
    return found


def needed(chapter: Chapter, among: Mapping[str, Chapter]) -> tuple[str, ...]:
    """Names of the chapters that run before ``chapter``."""
    if ALL not in chapter.needs:
        return chapter.needs
    return tuple(name for name, other in among.items() if ALL not in other.needs)


def _refuse_circles(found: dict[str, Chapter]) -> None:
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            circle = " needs ".join([*above[above.index(name) :], name])
            raise ValueError(f"chapters need one another in a circle: {circle}")
        if name not in done:
            for other in needed(found[name], found):
                visit(other, (*above, name))
            done.add(name)

    for name in found:
        visit(name, ())
