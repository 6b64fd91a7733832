"""The pages: a staged copy of the book, built by Jupyter Book with execution off."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import yaml

from lazyrich.publish import render, stamp
from lazyrich.publish.chapter import Chapter, pages
from lazyrich.publish.stamp import digest
from lazyrich.publish.tree import Tree

REPOSITORY = "LAZYRICH_REPOSITORY"
SITE = "LAZYRICH_SITE"
BRANCH = "notebooks"
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

    Chapters are rendered anew over their stored outputs, so that changed prose appears;
    a chapter whose stored outputs belong to other code cells, or that has none, is left
    out. All other pages and everything else beside them is copied.
    """
    by_page = {chapter.page: chapter for chapter in chapters.values()}
    staged = []
    for page in pages(tree.toc):
        if page in by_page:
            chapter = by_page[page]
            path = stamp.notebook_path(tree, chapter)
            if not path.is_file():
                continue
            stored = nbformat.read(path, as_version=4)
            try:
                fresh = render.finish(stored, chapter.notebook(), tree.root)
            except ValueError:
                continue
            for cell in fresh.cells:
                if cell.cell_type == "markdown":
                    cell.source = render.point_at_notebooks(cell.source, chapters)
            render.write_notebook(path, fresh)
            (tree.executed / f"{page}.md").unlink(missing_ok=True)
        else:
            (tree.executed / f"{page}.ipynb").unlink(missing_ok=True)
            text = (tree.root / f"{page}.md").read_text(encoding="utf-8")
            text = render.point_at_notebooks(text, chapters)
            render.write_text(tree.executed / f"{page}.md", text)
        staged.append(page)
    for source in _companions(tree.root / "book"):
        target = tree.executed / source.relative_to(tree.root)
        if not target.is_file() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return staged


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


def build(tree: Tree, staged: list[str], *, strict: bool, fresh: bool = False) -> Path:
    """Build the pages of the staged tree; returns the first page.

    Nothing is done if nothing changed. Pages that did not change are left alone as long
    as nothing that all of them share (configuration, contents, styles, library) did.

    Args:
        tree: where.
        staged: the pages, as returned by ``stage``.
        strict: warnings are errors.
        fresh: build every page.

    Raises:
        BuildError: Jupyter Book failed; its warnings and errors are in the message.
    """
    config = yaml.safe_dump(configuration(tree), sort_keys=False)
    toc = yaml.safe_dump(contents(tree, staged), sort_keys=False)
    render.write_text(tree.executed / "_config.yml", config)
    render.write_text(tree.executed / "_toc.yml", toc)
    shared = digest(json.dumps([config, toc, strict, _shared(tree)]))
    own = digest(json.dumps(_digests(tree.executed, tree.executed / "failed")))
    mark = tree.build / "pages.key"
    before = mark.read_text().split() if mark.is_file() else []
    if before == [shared, own] and not fresh:
        return tree.html / "index.html"
    if fresh or before[:1] != [shared]:
        for folder in (tree.html, tree.html.parent / ".doctrees"):
            shutil.rmtree(folder, ignore_errors=True)
    # Set again only after success, so that the next build repeats every warning.
    mark.unlink(missing_ok=True)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command += ["build", str(tree.executed), "--path-output", str(tree.output), "-n"]
    command += ["--config", str(tree.executed / "_config.yml")]
    command += ["--toc", str(tree.executed / "_toc.yml"), "--keep-going"]
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
        raise BuildError(_complaints(run.stdout, tree.executed))
    mark.write_text(f"{shared} {own}")
    return tree.html / "index.html"


def _digests(folder: Path, without: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): digest(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and without not in path.parents
    }


def _shared(tree: Tree) -> dict[str, str]:
    """What every page rests on, apart from its own source."""
    files = [*tree.package.rglob("*.py"), *_companions(tree.root / "book")]
    found = {str(path): digest(path.read_bytes()) for path in sorted(files)}
    if tree.lock.is_file():
        found["lock"] = digest(tree.lock.read_bytes())
    return found


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
        path = stamp.notebook_path(tree, chapter)
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
