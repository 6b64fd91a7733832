"""From executed notebooks to pages: what is shown, and new prose over old outputs."""

import copy
import re
import sys
from collections.abc import Collection
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from lazyrich.claims.table import MIME, VerdictTable
from lazyrich.core.files import write_if_changed
from lazyrich.publish.chapter import tags

INJECTED = "injected-parameters"
# Keys of a page's header that describe the source, not the executed notebook.
SOURCE_ONLY = ("jupytext", "needs", "results", "scales", "devices", "papermill")
_PAGE_LINK = re.compile(r"\]\((?P<path>[\w./-]+)\.md(?P<anchor>#[^)\s]*)?\)")
_CELL_FILE = re.compile(r"[^\s'\"<>]{0,200}ipykernel_\d+[/\\]\d+\.py")


def point_at_notebooks(text: str, names: Collection[str]) -> str:
    """Links of a page to the chapters ``names``, which are staged as notebooks.

    In the sources they end in ``.md``, as the chapters do there.
    """

    def link(found: re.Match[str]) -> str:
        name = found["path"].rpartition("/")[2]
        ending = ".ipynb" if name in names else ".md"
        return f"]({found['path']}{ending}{found['anchor'] or ''})"

    return _PAGE_LINK.sub(link, text)


def finish(notebook: NotebookNode, source: NotebookNode, root: Path) -> NotebookNode:
    """The page of a chapter: prose and presentation of ``source``, outputs as executed.

    The default parameters are hidden and the injected ones folded; paths of this
    machine leave the outputs; widget state goes unless an output shows nothing else.

    Args:
        notebook: an executed notebook.
        source: the chapter as written; its code cells must be the executed ones.
        root: folder of the project, whose path is removed.

    Raises:
        ValueError: the code cells differ.
    """
    executed = [cell for cell in notebook.cells if cell.cell_type == "code"]
    injected = [cell for cell in executed if INJECTED in tags(cell)]
    own = [cell for cell in executed if INJECTED not in tags(cell)]
    written = [cell for cell in source.cells if cell.cell_type == "code"]
    if [cell.source for cell in own] != [cell.source for cell in written]:
        raise ValueError("the executed notebook has other code cells than its source")
    page = copy.deepcopy(source)
    page.cells = []
    outputs = iter(own)
    for number, original in enumerate(source.cells):
        cell = copy.deepcopy(original)
        # Stable names keep the files the same from one build to the next.
        cell.id = f"cell-{number}"
        page.cells.append(cell)
        if cell.cell_type != "code":
            continue
        ran = next(outputs)
        cell.execution_count = ran.execution_count
        cell.outputs = [_clean(output, root) for output in ran.outputs]
        if "parameters" in tags(cell):
            cell.metadata["tags"] = sorted({*tags(cell), "remove-cell"})
            for extra in injected:
                shown = copy.deepcopy(extra)
                shown.id = f"cell-{number}-injected"
                prompt = {"code_prompt_show": "Parameters of this run"}
                shown.metadata = NotebookNode(
                    tags=[INJECTED, "hide-input"], mystnb=NotebookNode(prompt)
                )
                page.cells.append(shown)
    metadata = {**notebook.metadata, **source.metadata}
    page.metadata = NotebookNode(
        {key: value for key, value in metadata.items() if key not in SOURCE_ONLY}
    )
    page.metadata["mystnb"] = {"execution_mode": "off"}
    if not _needs_widgets(page):
        page.metadata.pop("widgets", None)
    page.nbformat, page.nbformat_minor = 4, 5
    return page


def judge(page: NotebookNode) -> None:
    """Make the tables of verdicts of a page anew, from the measurements in its outputs.

    A table whose measurements do not fit the checks of today stays as it was executed.
    """
    anchored: set[str] = set()
    for cell in page.cells:
        for output in cell.get("outputs", []):
            facts = output.get("data", {}).pop(MIME, None)
            if facts is None:
                continue
            try:
                table = VerdictTable.from_facts(facts, anchored)
            except ValueError:
                continue
            output["data"]["text/html"] = table._repr_html_()
            output["data"]["text/plain"] = repr(table)


def scrub(text: str, root: Path) -> str:
    """``text`` without the paths of this machine."""
    # Looked for first: on a megabyte of base64 (a slider) the search takes minutes.
    if "ipykernel_" in text:
        text = _CELL_FILE.sub("<cell>", text)
    for path, name in ((root, "."), (Path(sys.prefix), "<python>"), (Path.home(), "~")):
        if len(path.parts) > 1:
            replacement = "" if name == "." else f"{name}/"
            text = text.replace(f"{path}/", replacement).replace(str(path), name)
    return text


def _clean(output: NotebookNode, root: Path) -> NotebookNode:
    """The output with every text in it scrubbed; pictures are left alone."""
    cleaned = copy.deepcopy(output)
    for key in ("text", "evalue"):
        if isinstance(cleaned.get(key), str):
            cleaned[key] = scrub(cleaned[key], root)
    if "traceback" in cleaned:
        cleaned["traceback"] = [scrub(line, root) for line in cleaned["traceback"]]
    for mime, content in cleaned.get("data", {}).items():
        if isinstance(content, str) and not _is_binary(mime):
            cleaned["data"][mime] = scrub(content, root)
    return cleaned


def _is_binary(mime: str) -> bool:
    return mime.startswith(("image/", "application/pdf")) and mime != "image/svg+xml"


def _needs_widgets(page: NotebookNode) -> bool:
    view = "application/vnd.jupyter.widget-view+json"
    return any(
        view in output.get("data", {}) and "text/html" not in output["data"]
        for cell in page.cells
        for output in cell.get("outputs", [])
    )


def write_notebook(path: Path, notebook: NotebookNode) -> bool:
    """Write a notebook only if it differs; says whether it did."""
    return write_if_changed(path, nbformat.writes(notebook) + "\n")
