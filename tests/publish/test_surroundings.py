"""Chapters come out the same whatever the user's surroundings are."""

import json
import os
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from publish.tiny_book import Book

from lazyrich.publish import surroundings
from lazyrich.publish.book import publish


def outputs(book: Book, name: str) -> list[nbformat.NotebookNode]:
    outcome = publish(book.tree(), html=False, progress=False).outcome
    assert [str(failure) for failure in outcome.failed] == []
    path = book.tree().executed / "book" / f"{name}.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    return [out for cell in cells for out in cell.get("outputs", [])]


def foreign_kernel(folder: Path) -> None:
    place = folder / "kernels" / "python3"
    place.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "x", "language": "python"}
    (place / "kernel.json").write_text(json.dumps(spec | {"env": {"STRANGER": "yes"}}))


SEEN = """\
import os, sys, matplotlib.pyplot as plt
print(os.environ.get("STRANGER"), "started" in globals(), sys.executable)
print(plt.rcParams["lines.linewidth"], get_ipython().colors)"""


@pytest.mark.slow
def test_nothing_of_the_user_reaches_a_chapter(
    book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = tmp_path / "user"
    foreign_kernel(user / "jupyter")
    start = user / "ipython" / "profile_default"
    (start / "startup").mkdir(parents=True)
    (start / "startup" / "00.py").write_text("started = True\n")
    (start / "ipython_kernel_config.py").write_text(
        "c.InteractiveShell.colors = 'nocolor'\nc.InteractiveShell.ast_node_interactivity "
        "= 'all'\n"
    )
    (user / "start.py").write_text("started = True\n")
    (user / "matplotlibrc").write_text("lines.linewidth: 9\n")
    for name, value in {
        "JUPYTER_PATH": user / "jupyter",
        "IPYTHONDIR": user / "ipython",
        "PYTHONSTARTUP": user / "start.py",
        "MATPLOTLIBRC": user / "matplotlibrc",
        "MPLBACKEND": "Agg",
    }.items():
        monkeypatch.setenv(name, str(value))
    book.chapter("a", SEEN, "1\n2", "plt.plot([1, 2]);")
    text, number, picture = outputs(book, "a")
    ours = Path(sys.executable).name
    stranger, started, python, width, _ = text["text"].split()
    assert (stranger, started, Path(python).name) == ("None", "False", ours)
    assert width == "1.5"
    assert number["data"]["text/plain"] == "2"
    assert "image/png" in picture["data"]


@pytest.fixture
def long_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / ("a" * 60) / ("b" * 60)
    place.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(place))
    return place


def test_a_long_folder_for_temporary_files_is_left_alone(long_place: Path) -> None:
    assert tempfile.gettempdir() == str(long_place)
    with surroundings.private_folder() as folder:
        assert folder.is_dir()
        way = surroundings.transport(folder)
    assert way["transport"] == "ipc"
    assert len(os.fsencode(way["ip"])) < 100
    assert not folder.exists()


def test_where_no_place_is_short_kernels_talk_by_the_loopback_device(
    long_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with surroundings.private_folder() as folder:
        assert folder.parent == long_place
        assert surroundings.transport(folder) == {"transport": "tcp"}


CELLS = {
    "bash": "%%bash\nfor f in 1 2; do echo $f; done",
    "assign": "lines = !echo hello\nprint(lines[0])",
    "indented": "for k in range(2):\n    %time print(k)",
    "writefile": "%%writefile /dev/null\nthis is no python (",
    "help": "len?",
    "await": "import asyncio\nawait asyncio.sleep(0)",
    "time": "%%time\nx = 1",
    "wrong": "this is no python (",
}


@pytest.mark.slow
def test_all_that_ipython_allows_in_a_cell_runs(book: Book) -> None:
    cells = [cell for name, cell in CELLS.items() if name != "wrong"]
    book.chapter("a", *cells)
    shown = "".join(out.get("text", "") for out in outputs(book, "a"))
    assert shown.startswith("1\n2\n")
    assert "hello" in shown


def test_a_cell_that_is_no_python_fails_as_the_cell_of_its_chapter(book: Book) -> None:
    book.chapter("a", CELLS["wrong"])
    (failure,) = publish(book.tree(), html=False, progress=False).outcome.failed
    assert (failure.chapter, failure.cell, failure.ename) == ("a", 2, "SyntaxError")
