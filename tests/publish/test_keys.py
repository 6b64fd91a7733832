"""What makes a chapter stale, and what does not."""

import json
from pathlib import Path

import pytest
from publish.tiny_book import Book

import lazyrich
from lazyrich import cli
from lazyrich.publish import stamp
from lazyrich.publish.book import publish
from lazyrich.publish.chapter import chapters
from lazyrich.publish.tree import Settings, Tree

ID = "geiger-eq1-ntk-definition"
CHECKS = f"""\
{ID}:
  function: lazyrich.kernels.ntk
  criteria:
    any:
      error: {{below: 1e-9, because: rounding}}
  deviates:
    laptop: it does
"""
FIXED = "scales: [laptop]\ndevices: [cpu]\n"


def run(book: Book, tree: Tree | None = None, **options):
    return publish(tree or book.tree(), html=False, progress=False, **options).outcome


def stale(book: Book, before: dict[str, stamp.Key]) -> set[str]:
    return {name for name, key in keys(book).items() if key != before[name]}


def keys(book: Book, *settings: str) -> dict[str, stamp.Key]:
    tree = book.tree(*settings)
    return stamp.keys(tree, chapters(tree.root, tree.toc))


@pytest.fixture
def measured(book: Book) -> Book:
    book.library("claims/checks/a.yaml", CHECKS)
    book.chapter("a", "1")
    book.chapter("b", "1")
    return book


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("rounding", "rounding of a sum", False),
        ("it does", "it does indeed", False),
        ("1e-9", "1e-8", False),
        ("lazyrich.kernels.ntk", "lazyrich.kernels.trace_ntk", False),
        ("error:", "mistake:", True),
        ("{below: 1e-9", "{is: true", True),
        (ID, "geiger-eq4-centred-scaled-model", True),
    ],
)
def test_of_a_check_counts_what_has_to_be_recorded(
    measured: Book, old: str, new: str, counts: bool
) -> None:
    before = keys(measured)
    measured.library("claims/checks/a.yaml", CHECKS.replace(old, new))
    assert stale(measured, before) == ({"a"} if counts else set())


def test_a_bound_counts_where_a_cell_asks_for_the_verdict(measured: Book) -> None:
    measured.chapter("a", "print(rec.verdict('x'))")
    before = keys(measured)
    measured.library("claims/checks/a.yaml", CHECKS.replace("1e-9", "1e-8"))
    assert stale(measured, before) == {"a"}


def test_what_is_rendered_later_is_there_and_recording_is_not_of_it() -> None:
    package = Path(lazyrich.__file__).parent
    for name in stamp.RENDERED:
        assert (package / f"{name.replace('.', '/')}.py").is_file(), name
    left = {path.stem for path in (package / "claims").glob("*.py")}
    left -= {name.rpartition(".")[2] for name in stamp.RENDERED}
    assert left == {"__init__", "record", "recorder"}


def test_one_scale_and_the_cpu_mean_one_key(book: Book) -> None:
    book.chapter("a", "1", extra=FIXED)
    book.chapter("b", "1")
    laptop, paper = keys(book), keys(book, "paper", "cuda")
    assert laptop["a"] == paper["a"]
    assert laptop["b"] != paper["b"]


def test_a_chapter_at_one_scale_runs_once_for_all_books(book: Book) -> None:
    book.chapter("a", "print(scale, device)", extra=FIXED)
    book.chapter("b", "print(scale, device)")
    assert set(
        run(book, Tree(book.root, Settings(), book.tree().package)).executed
    ) == {
        "a",
        "b",
    }
    paper = book.tree("paper", "cpu")
    outcome = run(book, paper)
    assert set(outcome.executed) == {"b"}
    assert outcome.current == ["a"]
    found = chapters(paper.root, paper.toc)
    facts = stamp.read_stamp(stamp.stamp_path(paper, found["a"]))
    assert facts is not None
    assert (facts["scale"], facts["device"], facts["ran_on"]) == (
        "laptop",
        "cpu",
        "cpu",
    )


def test_what_a_chapter_does_not_offer_is_refused(book: Book) -> None:
    book.chapter("a", "1", extra=FIXED)
    with pytest.raises(ValueError, match="'a' exists at scale laptop only, got"):
        run(book, book.tree("paper"), chapter="a")
    with pytest.raises(ValueError, match="'a' computes on the cpu only, got"):
        run(book, book.tree("laptop", "cuda"), chapter="a")
    book.chapter("a", "1", extra="scales: [huge]\n")
    with pytest.raises(
        ValueError, match=r"a\.md: scales must be some of laptop, paper"
    ):
        run(book)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--scale", "paper"), "'flow' exists at scale laptop only, got scale 'paper'"),
        (("--device", "cuda"), "'flow' computes on the cpu only, got device 'cuda'"),
    ],
)
def test_the_command_says_what_there_is_in_one_line(
    option: tuple[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["book", "--chapter", "flow", *option]) == 2
    assert capsys.readouterr().err == f"lazyrich: chapter {words}\n"


def test_other_data_make_a_chapter_stale(
    book: Book, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAZYRICH_DATA", str(tmp_path / "data"))
    book.chapter(
        "a",
        "from lazyrich.core import presence\n"
        "here = presence.is_file(presence.data_home() / 'set' / 'x')\n"
        "presence.used('the set' if here else 'a stand-in')",
    )
    book.chapter("b", "1")

    def used() -> list[str]:
        path = book.tree().executed / "book/a.json"
        return json.loads(path.read_text())["data"]["used"]

    run(book)
    assert used() == ["a stand-in"]
    assert run(book).executed == {}
    (tmp_path / "data/set").mkdir(parents=True)
    (tmp_path / "data/set/x").write_text("1")
    outcome = run(book)
    assert outcome.reasons == {"a": "other data are here now (file data:set/x)"}
    assert used() == ["the set"]
    assert run(book).executed == {}
    (tmp_path / "data/set/x").unlink()
    assert set(run(book).executed) == {"a"}
    assert used() == ["a stand-in"]


def test_a_changed_notebook_is_made_again(book: Book) -> None:
    book.chapter("a", "print('measured')")
    run(book)
    path = book.tree().executed / "book/a.ipynb"
    path.write_text(path.read_text().replace('"measured', '"invented'))
    assert run(book).reasons == {"a": "its notebook is gone or was changed"}
    assert '"measured' in path.read_text()
    assert run(book).executed == {}


def test_an_up_to_date_check_needs_no_torch(book: Book) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from lazyrich.publish import book, stamp, schedule, site, chapter\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
