"""Reading chapters and the table of contents."""

import pytest
from publish.tiny_book import PARAMETERS, Book

from lazyrich.core.book import pages
from lazyrich.publish.chapter import chapters


def test_pages_of_nested_parts_come_in_reading_order(book: Book) -> None:
    (book.root / "_toc.yml").write_text(
        "root: book/intro\nparts:\n- caption: One\n  chapters:\n  - file: book/a\n"
        "    sections:\n    - file: book/b\n"
        "- caption: Two\n  chapters:\n  - file: book/c\n"
    )
    found = pages(book.root / "_toc.yml")
    assert found == ["book/intro", "book/a", "book/b", "book/c"]


@pytest.mark.parametrize(("cells", "count"), [("", 0), (PARAMETERS * 2, 2)])
def test_exactly_one_parameters_cell(book: Book, cells: str, count: int) -> None:
    book.chapter("a", "1 + 1", parameters=cells)
    chapter = chapters(book.root, book.root / "_toc.yml")["a"]
    with pytest.raises(ValueError, match=f"exactly one cell tagged .*got {count}"):
        chapter.notebook()


def test_prose_pages_are_no_chapters(book: Book) -> None:
    book.chapter("a", "1 + 1")
    assert list(chapters(book.root, book.root / "_toc.yml")) == ["a"]


def test_a_missing_page_is_named(book: Book) -> None:
    book.chapter("a", "1 + 1")
    (book.root / "book/a.md").unlink()
    with pytest.raises(ValueError, match=r"there is no book/a\.md"):
        chapters(book.root, book.root / "_toc.yml")


def test_an_unknown_need_is_named(book: Book) -> None:
    book.chapter("a", "1 + 1", extra="needs: [b]\n")
    with pytest.raises(ValueError, match="needs 'b'; the chapters are a"):
        chapters(book.root, book.root / "_toc.yml")


def test_a_circle_of_needs_is_refused(book: Book) -> None:
    book.chapter("a", "1 + 1", extra="needs: [b]\n")
    book.chapter("b", "1 + 1", extra="needs: a\n")
    with pytest.raises(ValueError, match="a needs b needs a"):
        chapters(book.root, book.root / "_toc.yml")


def test_lines_of_cells(book: Book) -> None:
    book.chapter("a", "x = 1", "y = 2")
    chapter = chapters(book.root, book.root / "_toc.yml")["a"]
    lines = chapter.path.read_text().splitlines()
    assert lines[chapter.line(2) - 1] == "x = 1"
    assert lines[chapter.line(3) - 1] == "y = 2"
