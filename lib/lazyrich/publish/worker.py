"""Executes one chapter, in a process of its own: ``python -m lazyrich.publish.worker``.

Reads a job as JSON from standard input. Writes one JSON object a line to standard
output: ``{"cell": 3, "cells": 12}`` as it goes, then ``{"seconds": ...}`` or
``{"error": {...}}``. The exit status is 0 or 1.
"""

import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from lazyrich.core import presence
from lazyrich.core.files import write_if_changed
from lazyrich.core.provenance import versions
from lazyrich.publish import chapter as chapters
from lazyrich.publish import render, stamp, surroundings
from lazyrich.publish.tree import Settings, Tree


def _say(**fact: Any) -> None:
    print(json.dumps(fact), flush=True)


def _first_line(source: str) -> str:
    lines = [line for line in source.splitlines() if line.strip()]
    return lines[0].strip() if lines else ""


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The chapter's own code cells: without what papermill puts in."""
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and render.INJECTED not in chapters.tags(cell)
    ]


def _seconds(cell: NotebookNode) -> float:
    duration = cell.metadata.get("papermill", {}).get("duration")
    return round(float(duration or 0.0), 2)


def execute(job: dict[str, Any]) -> bool:
    """Run the chapter of ``job``; leaves notebook and stamp, or a partial notebook."""
    tree = Tree(Path(job["root"]), Settings(**job["settings"]))
    chapter = chapters.chapters(tree.root, tree.toc)[job["name"]]
    source = chapter.notebook()
    total = sum(cell.cell_type == "code" for cell in source.cells)
    partial = tree.failed / f"{chapter.name}.ipynb"
    partial.parent.mkdir(parents=True, exist_ok=True)
    # What an earlier run recorded must not pass for what this one measures.
    stamp.records_path(tree, chapter).unlink(missing_ok=True)
    parameters = chapter.parameters(tree.settings)
    done = 0

    def count(cell: NotebookNode, cell_index: int) -> None:
        nonlocal done
        if cell.cell_type == "code" and render.INJECTED not in chapters.tags(cell):
            done += 1
            _say(cell=done, cells=total)

    logging.getLogger("papermill").setLevel(logging.ERROR)
    start = time.monotonic()
    with surroundings.private_folder() as folder:
        log = folder / "asked.jsonl"
        variables = surroundings.environment(folder, dict(os.environ))
        os.environ.clear()
        os.environ.update(variables | {presence.LOG: str(log)})
        manager = surroundings.transport(folder)
        try:
            executed = papermill.execute_notebook(
                source,
                str(partial),
                parameters=parameters,
                cwd=str(chapter.path.parent),
                kernel_name=surroundings.KERNEL,
                progress_bar=False,
                on_cell_start=count,
                config=Config({"KernelManager": manager}),
            )
        except PapermillExecutionError as error:
            _fail(chapter, partial, done, error.ename, error.evalue)
            return False
        except (DeadKernelError, RuntimeError) as error:
            _fail(chapter, partial, done, type(error).__name__, str(error))
            return False
        asked = presence.read_log(log)
    seconds = round(time.monotonic() - start, 1)
    page = render.finish(executed, source, tree.root)
    facts = {
        "chapter": chapter.name,
        "key": job["key"],
        "parts": job["parts"],
        **parameters,
        "ran_on": _computed_on(stamp.records_path(tree, chapter)) or job["ran_on"],
        "data": vars(asked),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "seconds": seconds,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "records": stamp.file_digest(stamp.records_path(tree, chapter)),
        "cells": [
            {
                "cell": number,
                "line": chapter.line(number),
                "starts": _first_line(cell.source),
                "seconds": _seconds(cell),
            }
            for number, cell in enumerate(_code_cells(executed), 1)
        ],
    }
    # The stamp goes last: without it the chapter counts as not executed.
    stamp.stamp_path(tree, chapter).unlink(missing_ok=True)
    notebook = stamp.notebook_path(tree, chapter)
    render.write_notebook(notebook, page)
    facts["notebook"] = stamp.file_digest(notebook)
    write_if_changed(stamp.stamp_path(tree, chapter), json.dumps(facts, indent=1))
    partial.unlink(missing_ok=True)
    _say(seconds=seconds)
    return True


def _computed_on(records: Path) -> str | None:
    """The device that the chapter named when it recorded; it knows best."""
    try:
        content = json.loads(records.read_text(encoding="utf-8"))
        return content["provenance"]["device"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _fail(
    chapter: chapters.Chapter, partial: Path, done: int, name: str, value: str
) -> None:
    """Report the cell that failed; the notebook so far stays at ``partial``."""
    cell, line, starts = max(done, 1), 0, ""
    if partial.is_file():
        cells = _code_cells(nbformat.read(partial, as_version=4))
        for number, candidate in enumerate(cells, 1):
            if any(output.output_type == "error" for output in candidate.outputs):
                cell = number
        starts = _first_line(cells[cell - 1].source) if cell <= len(cells) else ""
        line = chapter.line(cell)
    _say(
        error={
            "cell": cell,
            "line": line,
            "starts": starts,
            "ename": name,
            "evalue": value,
        }
    )


if __name__ == "__main__":
    sys.exit(0 if execute(json.load(sys.stdin)) else 1)
