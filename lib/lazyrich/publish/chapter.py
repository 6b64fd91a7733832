"""Chapters as written: MyST text with code cells, read from the table of contents."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import yaml
from jupytext.myst import myst_to_notebook
from nbformat import NotebookNode

from lazyrich.core.book import pages
from lazyrich.publish.tree import SCALES, Settings

# On what a chapter may compute; ``auto`` is one of them.
COMPUTING = ("cpu", "cuda")


@dataclass(frozen=True)
class Chapter:
    """A page with code cells.

    ``needs`` names the chapters that have to run before, ``results`` are patterns of
    files under ``results/`` that the chapter draws. ``scales`` are the scales that it
    exists at, ``devices`` those that it computes on: a chapter whose cells never ask for
    the scale exists at one. All come from the header of the page.
    """

    name: str
    page: str
    path: Path
    needs: tuple[str, ...]
    results: tuple[str, ...]
    scales: tuple[str, ...] = SCALES
    devices: tuple[str, ...] = COMPUTING

    def at(self, asked: Settings) -> Settings:
        """The settings under which the chapter runs when the book is asked for others.

        Where it offers no choice they are the default ones, so that one run serves all
        books that differ in that alone.
        """
        scale = asked.scale if asked.scale in self.scales else self.scales[0]
        device = asked.device if "cuda" in self.devices else Settings().device
        return Settings(scale, device, asked.seed)

    def parameters(self, asked: Settings) -> dict[str, str | int]:
        """The parameters of its run, as papermill injects them."""
        device = {} if "cuda" in self.devices else {"device": "cpu"}
        return self.at(asked).parameters() | device

    def refuse(self, asked: Settings) -> None:
        """Say no to what the chapter cannot do.

        Raises:
            ValueError: a scale that it does not exist at, or a device that it does not
                compute on; the message says what it offers.
        """
        if asked.scale not in self.scales:
            offered = ", ".join(self.scales)
            raise ValueError(
                f"chapter {self.name!r} exists at scale {offered} only, "
                f"got scale {asked.scale!r}"
            )
        if asked.device == "cuda" and "cuda" not in self.devices:
            raise ValueError(
                f"chapter {self.name!r} computes on the cpu only, got device 'cuda'"
            )

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


def _words(head: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    value = head.get(key)
    words = [value] if isinstance(value, str) else value or []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{path.name}: {key} must be a list of names, got {value!r}")
    return tuple(words)


def _choice(
    head: Mapping[str, Any], key: str, allowed: tuple[str, ...], path: Path
) -> tuple[str, ...]:
    """The words under ``key``, all that are allowed where it is absent."""
    words = _words(head, key, path) or allowed
    if set(words) - set(allowed):
        raise ValueError(
            f"{path.name}: {key} must be some of {', '.join(allowed)}, "
            f"got {', '.join(words)}"
        )
    return words


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
        found[path.stem] = Chapter(
            path.stem,
            page,
            path,
            needs=_words(head, "needs", path),
            results=_words(head, "results", path),
            scales=_choice(head, "scales", SCALES, path),
            devices=_choice(head, "devices", COMPUTING, path),
        )
    for chapter in found.values():
        for name in chapter.needs:
            if name not in found:
                allowed = ", ".join(found)
                raise ValueError(
                    f"{chapter.page}.md needs {name!r}; the chapters are {allowed}"
                )
    _refuse_circles(found)
    return found


def _refuse_circles(found: dict[str, Chapter]) -> None:
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            circle = " needs ".join([*above[above.index(name) :], name])
            raise ValueError(f"chapters need one another in a circle: {circle}")
        if name not in done:
            for other in found[name].needs:
                visit(other, (*above, name))
            done.add(name)

    for name in found:
        visit(name, ())
