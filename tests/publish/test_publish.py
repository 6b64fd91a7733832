"""Executing tiny books: what runs, what does not, and what is said when it fails."""

import json

import nbformat
import pytest
from publish.tiny_book import Book

from lazyrich.publish import schedule, site
from lazyrich.publish.book import publish
from lazyrich.publish.chapter import chapters
from lazyrich.publish.tree import Settings, Tree
from lazyrich.sweeps.cluster import SHARE


def run(book: Book, tree: Tree | None = None, **options):
    return publish(tree or book.tree(), html=False, progress=False, **options).outcome


def output(tree: Tree, name: str) -> str:
    notebook = nbformat.read(tree.executed / "book" / f"{name}.ipynb", as_version=4)
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return "".join(out.get("text", "") for out in outputs)


def test_only_what_changed_runs_again(book: Book) -> None:
    book.library("core/__init__.py", "")
    book.library("core/provenance.py", "ONE = 1\n")
    book.library("core/other.py", "")
    book.chapter("a", "import lazyrich.core.provenance\nprint(seed)")
    book.chapter("b", "print('b', scale, device)")
    first = run(book)
    assert set(first.executed) == {"a", "b"}
    assert output(book.tree(), "b") == "b laptop cpu\n"

    assert run(book).executed == {}

    book.chapter("b", "print('b', scale, device)", prose="Other words.")
    assert run(book).executed == {}

    book.library("core/provenance.py", "ONE = 2\n")
    second = run(book)
    assert set(second.executed) == {"a"}
    assert second.reasons["a"] == "changed: library (core.provenance.ONE)"

    book.library("core/other.py", "x = 1")
    assert run(book).executed == {}

    book.chapter("b", "print('c', scale, device)", prose="Other words.")
    third = run(book)
    assert set(third.executed) == {"b"}
    assert third.reasons["b"] == "changed: code (cell 2)"

    (book.root / "requirements/constraints.txt").write_text("numpy==2\n")
    assert set(run(book).executed) == {"a", "b"}


def test_changed_prose_appears_without_a_kernel(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.chapter("a", "print('kept')", prose="Old words.")
    run(book)
    book.chapter("a", "print('kept')", prose="New words.")
    monkeypatch.setattr(schedule.subprocess, "Popen", None)
    run(book)
    tree = book.tree()
    assert site.stage(tree, chapters(tree.root, tree.toc)) == ["book/intro", "book/a"]
    text = (tree.staged / "book/a.ipynb").read_text()
    assert "New words." in text
    assert "Old words." not in text
    assert output(tree, "a") == "kept\n"


@pytest.mark.slow
def test_other_settings_run_apart(book: Book) -> None:
    book.chapter("a", "print(scale, device, seed)")
    run(book)
    paper = book.tree("paper", "cpu", 3)
    assert set(run(book, paper).executed) == {"a"}
    assert output(paper, "a") == "paper cpu 3\n"
    assert output(book.tree(), "a") == "laptop cpu 0\n"
    assert run(book).executed == {}


def test_a_failing_cell_is_named_and_the_others_finish(book: Book) -> None:
    book.chapter("good", "print('fine')")
    book.chapter("bad", "x = 1", "x / 0", "print('never')")
    book.chapter("board", "print('board')", extra="needs: [good, bad]\n")
    outcome = run(book)
    assert set(outcome.executed) == {"good"}
    bad, board = sorted(outcome.failed, key=lambda failure: failure.cell, reverse=True)
    assert (bad.chapter, bad.cell, bad.ename) == ("bad", 3, "ZeroDivisionError")
    line = (book.root / "book/bad.md").read_text().splitlines()[bad.line - 1]
    assert line == "x / 0"
    assert "bad: cell 3" in str(bad)
    assert board.chapter == "board"
    partial = nbformat.read(book.tree().failed / "bad.ipynb", as_version=4)
    assert "ZeroDivisionError" in str([cell.get("outputs") for cell in partial.cells])
    # The failed chapter has no stamp, so it is tried again; the good one is not.
    again = run(book)
    assert again.current == ["good"]
    assert {failure.chapter for failure in again.failed} == {"bad", "board"}


@pytest.mark.slow
def test_the_last_good_outputs_survive_a_failure(book: Book) -> None:
    book.chapter("a", "print('good')")
    run(book)
    book.chapter("a", "raise RuntimeError('no')")
    assert run(book).failed[0].evalue == "no"
    assert output(book.tree(), "a") == "good\n"


@pytest.mark.slow
def test_a_dead_kernel_is_reported(book: Book) -> None:
    book.chapter("a", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    (failure,) = run(book).failed
    assert failure.chapter == "a"
    assert failure.cell == 2
    assert "Kernel" in failure.ename + failure.evalue


@pytest.mark.slow
def test_needed_chapters_run_first_and_count(book: Book) -> None:
    path = book.root / "note"
    book.chapter("a", f"open({str(path)!r}, 'w').write('one')")
    book.chapter("b", f"print(open({str(path)!r}).read())", extra="needs: [a]\n")
    outcome = run(book, chapter="b")
    assert set(outcome.executed) == {"a", "b"}
    assert output(book.tree(), "b") == "one\n"
    book.chapter("a", f"open({str(path)!r}, 'w').write('two')")
    assert set(run(book).executed) == {"a", "b"}
    assert output(book.tree(), "b") == "two\n"


@pytest.mark.slow
def test_result_tables_count(book: Book) -> None:
    (book.root / "results").mkdir()
    (book.root / "results/table.csv").write_text("1")
    book.chapter("a", "print(1)", extra='results: ["*.csv"]\n')
    run(book)
    assert run(book).executed == {}
    (book.root / "results/table.csv").write_text("2")
    assert run(book).reasons == {"a": "changed: results (table.csv)"}


@pytest.mark.slow
def test_lost_records_are_measured_again(book: Book) -> None:
    record = book.tree().records("a")
    book.chapter(
        "a",
        "from pathlib import Path\n"
        f"path = Path({str(record)!r})\n"
        "path.parent.mkdir(parents=True, exist_ok=True)\n"
        "path.write_text('1.5')",
    )
    run(book)
    assert run(book).executed == {}
    record.unlink()
    assert set(run(book).executed) == {"a"}
    assert record.read_text() == "1.5"


@pytest.mark.slow
def test_the_stamp_says_what_happened(book: Book) -> None:
    book.chapter("a", "import time", "time.sleep(0.3)")
    run(book)
    stamp = json.loads((book.tree().executed / "book/a.json").read_text())
    assert stamp["scale"] == "laptop"
    assert stamp["ran_on"] == "cpu"
    assert stamp["seconds"] > 0.3
    slowest = max(stamp["cells"], key=lambda cell: cell["seconds"])
    assert slowest["starts"] == "time.sleep(0.3)"
    assert {"python", "torch"} <= set(stamp["versions"])


@pytest.mark.slow
def test_threads_are_shared(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(schedule.os, "cpu_count", lambda: 8)
    code = f"import os\nprint(os.environ['OMP_NUM_THREADS'], os.environ['{SHARE}'])"
    book.chapter("a", code)
    run(book, jobs=2)
    assert output(book.tree(), "a") == "4 8\n"  # no other runs beside it
    book.chapter("a", f"{code}\nprint('again')")
    book.chapter("b", code)
    run(book, jobs=2)
    assert output(book.tree(), "b") == "4 4\n"


def test_bad_arguments_are_named(book: Book) -> None:
    book.chapter("a", "print(1)")
    with pytest.raises(ValueError, match="named 'zzz'; the chapters are a"):
        run(book, chapter="zzz")
    with pytest.raises(ValueError, match="jobs must be an integer >= 1, got 0"):
        run(book, jobs=0)
    with pytest.raises(ValueError, match="scale must be one of .* got 'huge'"):
        Settings("huge")
    with pytest.raises(ValueError, match="device must be one of .* got 'tpu'"):
        Settings(device="tpu")
    with pytest.raises(TypeError, match="seed must be an integer, got 1.5"):
        Settings(seed=1.5)  # pyright: ignore[reportArgumentType]
