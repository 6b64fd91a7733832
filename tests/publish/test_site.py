"""Building the pages of a tiny book: links, launch buttons, checks of our own."""

import re

import nbformat
import pytest
from bs4 import BeautifulSoup
from publish.tiny_book import Book

from lazyrich.publish import site, sphinx_ext
from lazyrich.publish.book import Result, publish

pytestmark = pytest.mark.slow
REPOSITORY = "https://github.com/someone/somebook"


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(site.REPOSITORY, raising=False)
    monkeypatch.delenv(site.SITE, raising=False)


def build(book: Book, **options: object) -> Result:
    return publish(book.tree(), progress=False, **options)  # pyright: ignore


def test_pages_carry_no_invented_address(book: Book) -> None:
    book.chapter("a", "print('hello')", prose="See {doc}`intro` and $x^2$.")
    result = build(book)
    assert result.problem is None
    text = (result.tree.html / "book/a.html").read_text()
    assert not re.search(r"github|colab|mybinder", text)
    assert "Executed at scale laptop on cpu in" in text
    assert 'src="../_static/vendor/mathjax/tex-chtml.js' in text
    assert "hello" in text
    assert not result.tree.notebooks.exists()


def test_launch_buttons_open_the_executed_notebook(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(site.REPOSITORY, REPOSITORY + "/")
    monkeypatch.setenv(site.SITE, "https://someone.github.io/somebook")
    book.chapter("a", "print('hello')")
    result = build(book)
    assert result.problem is None
    text = (result.tree.html / "book/a.html").read_text()
    colab = "colab.research.google.com/github/someone/somebook/blob/notebooks"
    assert f"{colab}/book/a.ipynb" in text
    assert "mybinder.org/v2/gh/someone/somebook/notebooks" in text
    assert f"{REPOSITORY}/edit/main/book/a.md" in text
    assert 'content="https://someone.github.io/somebook/book/a.html"' in text
    notebook = nbformat.read(result.tree.notebooks / "a.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert f"git+{REPOSITORY}@notebooks" in notebook.cells[0].source


@pytest.mark.parametrize("value", ["github.com/a/b", "http://x.org/a", "https://x"])
def test_a_malformed_address_is_refused(
    book: Book, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(site.REPOSITORY, value)
    with pytest.raises(ValueError, match=f"{site.REPOSITORY} must be an https address"):
        build(book)


FIGURE = """\
---
mystnb:
  image: {{alt: "{alt}"}}
---
from IPython.display import Image
Image(data=b"\\x89PNG\\r\\n\\x1a\\n" + bytes(60), format="png")"""


FLAWS = {
    "A note[^lost].": r"footnote without a text: \[\^lost\]",
    '<img src="x.png">': "raw <img> without alt text",
    '<script src="https://cdn.example.org/x.js"></script>': "loads https://cdn.example",
    "[gone](gone.md)": "gone.md",
    "{eq}`nowhere`": "equation not found: nowhere",
    "{cite:p}`nobody`": "could not find bibtex key",
}


def test_flaws_of_a_page_stop_the_build(book: Book) -> None:
    book.chapter("a", FIGURE.format(alt=""), prose="\n\n".join(FLAWS))
    problem = build(book).problem
    assert problem is not None
    for complaint in (*FLAWS.values(), "image without alt text"):
        assert re.search(complaint, problem), f"{complaint} not in:\n{problem}"
    assert str(book.root) not in problem


def test_a_figure_with_words_builds(book: Book) -> None:
    book.chapter("a", FIGURE.format(alt="A curve that falls."))
    result = build(book)
    assert result.problem is None
    assert 'alt="A curve that falls."' in (result.tree.html / "book/a.html").read_text()


def test_warnings_come_back_until_they_are_mended(book: Book) -> None:
    book.chapter("a", "1", prose="A note[^lost].")
    assert build(book).problem == build(book).problem
    book.chapter("a", "1", prose="A note.")
    assert build(book).problem is None


def test_changed_prose_rebuilds_its_page_only(book: Book) -> None:
    book.chapter("a", "print('kept')", prose="Old words.")
    book.chapter("b", "print('other')")
    tree = build(book).tree
    other = (tree.html / "book/b.html").stat().st_mtime_ns
    first = (tree.html / "book/a.html").stat().st_mtime_ns
    build(book)
    assert (tree.html / "book/a.html").stat().st_mtime_ns == first
    book.chapter("a", "print('kept')", prose="New words.")
    result = build(book)
    assert result.outcome.executed == {}
    text = (tree.html / "book/a.html").read_text()
    assert "New words." in text
    assert "kept" in text
    assert (tree.html / "book/b.html").stat().st_mtime_ns == other


def test_one_chapter_is_built_without_the_others(book: Book) -> None:
    book.chapter("a", "print('a')", prose="See {doc}`b`.")
    book.chapter("b", "raise RuntimeError('not now')")
    result = build(book, chapter="a")
    assert result.page == result.tree.html / "book/a.html"
    assert result.page is not None
    assert result.page.is_file()
    assert not (result.tree.html / "book/b.html").exists()


def test_no_pages_while_a_chapter_fails(book: Book) -> None:
    book.chapter("a", "raise RuntimeError('no')")
    result = build(book)
    assert result.page is None
    assert not result.ok
    assert not result.tree.html.exists()


def test_machine_paths_leave_the_outputs(book: Book) -> None:
    book.chapter("a", "import os, sys\nprint(os.getcwd(), sys.prefix)")
    tree = build(book).tree
    text = (tree.html / "book/a.html").read_text()
    assert str(book.root) not in text
    assert "./book" in text or ">book" in text


def test_the_table_of_executions(book: Book) -> None:
    book.chapter("a", "import time\ntime.sleep(0.2)")
    book.prose("reproducibility", "# How\n\n```{execution-table}\n```\n")
    tree = build(book).tree
    text = (tree.html / "book/reproducibility.html").read_text()
    assert re.search(r'href="a\.html"', text)
    table = BeautifulSoup(text, "html.parser").select_one("table")
    assert table is not None
    cells = [cell.get_text() for cell in table.select("tbody td")]
    assert cells[:3] == ["a", "laptop", "cpu"]
    assert "import time" in cells[4]
    assert 'href="reproducibility.html"' in (tree.html / "book/a.html").read_text()


def test_exercises_have_no_id_in_common(book: Book) -> None:
    exercise = ":::{{exercise}} A title\n:label: {0}\nWhat is {0}?\n:::\n"
    book.chapter("a", "1", prose=exercise.format("one") + "\n" + exercise.format("two"))
    tree = build(book).tree
    soup = BeautifulSoup((tree.html / "book/a.html").read_text(), "html.parser")
    ids = [node["id"] for node in soup.select("article [id]")]
    assert len(ids) == len(set(ids))


def test_raw_html_complaints() -> None:
    assert sphinx_ext.complaints_about_html('<img alt="x" src="data:,">') == []
    assert sphinx_ext.complaints_about_html('<a href="https://x.org">x</a>') == []
    assert sphinx_ext.complaints_about_html('<link href="//x.org/a.css">')
