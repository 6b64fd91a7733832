"""The pages: a staged copy of the book, built by Jupyter Book with execution off."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

from lazyrich.claims import record
from lazyrich.core import files
from lazyrich.core.book import pages
from lazyrich.publish import render, stamp
from lazyrich.publish.chapter import Chapter
from lazyrich.publish.imports import Library, closure
from lazyrich.publish.stamp import digest
from lazyrich.publish.tree import Tree

REPOSITORY = "LAZYRICH_REPOSITORY"
SITE = "LAZYRICH_SITE"
BRANCH = "notebooks"
# What of this package works on every page.
_EXTENSION = "import lazyrich.publish.sphinx_ext"
_OWN_PACKAGE = Path(__file__).resolve().parents[1]
_ADDRESS = re.compile(r"https://[\w.-]+(?:/[\w.~-]+)+")


class BuildError(RuntimeError):
    """The pages could not be built, or not without warnings."""


def address(variable: str) -> str | None:
    """A web address from the environment, or None if the variable is empty or unset.

    Raises:
        ValueError: it is no https address.
    """
    found = os.environ.get(variable, "").strip().rstrip("/")
    if not found:
        return None
    if not _ADDRESS.fullmatch(found):
        raise ValueError(f"{variable} must be an https address, got {found!r}")
    return found


def stage(tree: Tree, chapters: Mapping[str, Chapter]) -> list[str]:
    """Bring the staged tree up to date without running anything; returns its pages.

    Chapters are rendered anew over their stored outputs, so that changed prose appears,
    and so do verdicts with their reasons; a chapter whose stored outputs belong to other
    code cells, or that has none, is left out, and so is a page that is not there (the
    chapters of such a book are refused). All other pages and everything else beside them
    is copied. What is staged already and did not change keeps its date.
    """
    by_page = {chapter.page: chapter for chapter in chapters.values()}
    staged = []
    for page in pages(tree.toc):
        place = tree.staged / page
        if page in by_page:
            chapter = by_page[page]
            fresh = _rendered(tree, chapter, chapters)
            if fresh is None:
                continue
            render.write_notebook(place.with_suffix(".ipynb"), fresh)
            origin = stamp.stamp_path(tree, chapter)
            if origin.is_file():
                text = origin.read_text(encoding="utf-8")
                files.write_if_changed(place.with_suffix(".json"), text)
            place.with_suffix(".md").unlink(missing_ok=True)
        else:
            for ending in (".ipynb", ".json"):
                place.with_suffix(ending).unlink(missing_ok=True)
            written = tree.root / f"{page}.md"
            if not written.is_file():
                continue
            text = written.read_text(encoding="utf-8")
            text = render.point_at_notebooks(text, chapters)
            files.write_if_changed(place.with_suffix(".md"), text)
        staged.append(page)
    for source in _companions(tree.root / "book"):
        target = tree.staged / source.relative_to(tree.root)
        if not target.is_file() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return staged


def _rendered(
    tree: Tree, chapter: Chapter, chapters: Mapping[str, Chapter]
) -> NotebookNode | None:
    """The page of a chapter over its stored outputs; None if they are of other cells."""
    path = stamp.notebook_path(tree, chapter)
    if not path.is_file():
        return None
    stored = nbformat.read(path, as_version=4)
    try:
        fresh = render.finish(stored, chapter.notebook(), tree.root)
    except ValueError:
        return None
    render.judge(fresh)
    for cell in fresh.cells:
        if cell.cell_type == "markdown":
            cell.source = render.point_at_notebooks(cell.source, chapters)
    return fresh


def _companions(folder: Path) -> list[Path]:
    """What lies beside the pages: styles, pictures, references."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix not in {".md", ".ipynb"}
        and not any(part.startswith((".", "__")) for part in path.parts[-2:])
    ]


def configuration(tree: Tree) -> dict[str, Any]:
    """``_config.yml``, with launch buttons if the address of the repository is known.

    Raises:
        ValueError: an address in the environment is malformed.
    """
    config = yaml.safe_load(tree.config.read_text(encoding="utf-8"))
    repository, site = address(REPOSITORY), address(SITE)
    if repository:
        config["repository"] = {"url": repository, "branch": BRANCH, "path_to_book": ""}
        config["launch_buttons"] = {
            "notebook_interface": "jupyterlab",
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
        }
        config.setdefault("html", {})
        for button in ("repository", "issues", "edit_page"):
            config["html"][f"use_{button}_button"] = True
    if site:
        config["sphinx"]["config"]["ogp_site_url"] = f"{site}/"
        config["sphinx"]["config"]["extensions"].append("sphinxext.opengraph")
    return config


def contents(tree: Tree, staged: list[str]) -> dict[str, Any]:
    """The table of contents, reduced to the pages that are staged."""
    toc = yaml.safe_load(tree.toc.read_text(encoding="utf-8"))

    def reduced(node: Any) -> Any:
        if isinstance(node, list):
            kept = [reduced(entry) for entry in node]
            return [entry for entry in kept if entry is not None]
        if isinstance(node, dict):
            if "file" in node and node["file"] not in staged:
                return None
            found = {key: reduced(value) for key, value in node.items()}
            if "caption" in found and not found.get("chapters"):
                return None
            return found
        return node

    return reduced(toc)


def build(
    tree: Tree,
    chapters: Mapping[str, Chapter] | Iterable[tuple[str, Chapter]],
    *,
    strict: bool,
    fresh: bool = False,
) -> Path:
    """Stage and build the pages; returns the first one.

    Nothing is done if nothing changed and every page is there. Else pages that did not
    change are left alone, as long as nothing that all of them share did.

    Args:
        tree: where.
        chapters: all chapters by name, or pairs of both; those without outputs are
            left out.
        strict: warnings are errors.
        fresh: build every page.

    Raises:
        BuildError: Jupyter Book failed; its warnings and errors are in the message.
    """
    chapters = dict(chapters)
    sources = digest(json.dumps([strict, _sources(tree, chapters)]))
    mark = tree.build / "pages.key"
    before = mark.read_text().split() if mark.is_file() else []
    if before[:1] == [sources] and not fresh and _all_there(tree, chapters):
        return tree.html / "index.html"
    staged = stage(tree, chapters)
    config = yaml.safe_dump(configuration(tree), sort_keys=False)
    toc = yaml.safe_dump(contents(tree, staged), sort_keys=False)
    files.write_if_changed(tree.staged / "_config.yml", config)
    files.write_if_changed(tree.staged / "_toc.yml", toc)
    shared = digest(json.dumps([config, toc, strict, _shared(tree)]))
    if fresh or before[1:] != [shared]:
        for folder in (tree.html, tree.html.parent / ".doctrees"):
            shutil.rmtree(folder, ignore_errors=True)
    # Set again only after success, so that the next build repeats every warning.
    mark.unlink(missing_ok=True)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command += ["build", str(tree.staged), "--path-output", str(tree.output), "-n"]
    command += ["--config", str(tree.staged / "_config.yml")]
    command += ["--toc", str(tree.staged / "_toc.yml"), "--keep-going"]
    command += ["-W"] if strict else []
    run = subprocess.run(
        command,
        cwd=tree.root,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if run.returncode != 0:
        raise BuildError(_complaints(run.stdout, tree.staged))
    mark.write_text(f"{sources} {shared}")
    return tree.html / "index.html"


def _all_there(tree: Tree, chapters: Mapping[str, Chapter]) -> bool:
    """Whether every page stands that has something to show."""
    pending = {
        chapter.page
        for chapter in chapters.values()
        if not stamp.notebook_path(tree, chapter).is_file()
    }
    wanted = [page for page in pages(tree.toc) if page not in pending]
    return all((tree.html / f"{page}.html").is_file() for page in ["index", *wanted])


def _digests(paths: Iterable[Path]) -> dict[str, str]:
    return {str(path): digest(path.read_bytes()) for path in paths if path.is_file()}


def _sources(tree: Tree, chapters: Mapping[str, Chapter]) -> dict[str, str]:
    """Everything that pages are made from."""
    found = [tree.config, tree.toc, tree.lock]
    records = record.fresh_folder(), record.kept_folder()
    for folder in (tree.root / "book", tree.package, *records):
        found += (p for p in sorted(folder.rglob("*")) if "__pycache__" not in p.parts)
    for chapter in chapters.values():
        found += [stamp.notebook_path(tree, chapter), stamp.stamp_path(tree, chapter)]
    addresses = {name: os.environ.get(name, "") for name in (REPOSITORY, SITE)}
    return _digests(found) | addresses


def _shared(tree: Tree) -> dict[str, str]:
    """What every page rests on, apart from its own source."""
    styles = [
        path
        for path in _companions(tree.root / "book")
        if path.suffix not in {".png", ".webp", ".jpg"}
    ]
    library = Library(_OWN_PACKAGE, tree.build / "extension.json")
    code = closure([_EXTENSION], library, stamp.RENDERED)
    library.remember()
    return _digests([*styles, tree.lock]) | code


def _complaints(output: str, staged: Path) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    plain = plain.replace(f"{staged}/", "")
    lines = plain.splitlines()
    found = [line for line in lines if "WARNING" in line or "ERROR" in line]
    return "\n".join(found or lines[-20:])


def launchable(tree: Tree, chapters: Mapping[str, Chapter], repository: str) -> int:
    """Write the notebooks that the launch buttons open; returns how many.

    Each starts with a cell that installs the library where it is missing.
    """
    shutil.rmtree(tree.notebooks, ignore_errors=True)
    count = 0
    for chapter in chapters.values():
        path = tree.staged / f"{chapter.page}.ipynb"
        if not path.is_file():
            continue
        notebook = nbformat.read(path, as_version=4)
        source = (
            "# Installs the library of this book where it is missing.\n"
            "import importlib.util\n\n"
            'if importlib.util.find_spec("lazyrich") is None:\n'
            '    %pip install --quiet "lazyrich[chapters] @ '
            f'git+{repository}@{BRANCH}"\n'
        )
        cell = nbformat.v4.new_code_cell(source, id="install")
        notebook.cells.insert(0, cell)
        render.write_notebook(tree.notebooks / f"{chapter.name}.ipynb", notebook)
        count += 1
    return count
