"""The real book: every chapter executed, pages without warnings, sound HTML."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup

from lazyrich.publish import Result, publish, stamp
from lazyrich.publish.chapter import chapters, pages

pytestmark = pytest.mark.book
# What a page itself may weigh; scripts, styles and fonts are shared by all pages.
HEAVIEST_PAGE = 4_000_000


@pytest.fixture(scope="session")
def soups(built: Result) -> dict[Path, BeautifulSoup]:
    """Every page of the book, parsed."""
    html = built.tree.html
    return {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in sorted(html.rglob("*.html"))
        if "_static" not in path.parts
    }


def test_no_chapter_failed_and_no_page_has_warnings(built: Result) -> None:
    assert [str(failure) for failure in built.outcome.failed] == []
    assert built.problem is None


def test_every_chapter_is_current(built: Result) -> None:
    tree = built.tree
    found = chapters(tree.root, tree.toc)
    keys = stamp.keys(tree, found)
    for name, chapter in found.items():
        assert stamp.is_current(tree, chapter, keys[name]), name


def test_a_second_run_executes_nothing(built: Result) -> None:
    again = publish(built.tree, progress=False)
    assert again.outcome.executed == {}
    assert again.problem is None


def test_no_output_is_an_error_or_leaks_a_path(built: Result) -> None:
    tree = built.tree
    for name, chapter in chapters(tree.root, tree.toc).items():
        path = stamp.notebook_path(tree, chapter)
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                assert output.output_type != "error", f"{name}: {output.evalue}"
                shown = output.get("data", {})
                drawn = "<Figure" not in shown.get("text/plain", "") or len(shown) > 1
                assert drawn, f"{name}: a figure is shown as text"
        _assert_no_place(path.read_text(encoding="utf-8"), name, tree.root)


def _assert_no_place(text: str, where: str, root: Path) -> None:
    places = [str(root), str(Path.home()) + "/", sys.prefix]
    if not where.startswith("_modules/"):  # sources of the library may speak of kernels
        places.append("ipykernel_")
    for place in places:
        assert place not in text, f"{where} names {place}"


def test_every_page_of_the_contents_is_there(built: Result) -> None:
    for page in pages(built.tree.toc):
        assert (built.tree.html / f"{page}.html").is_file(), page


def test_pages_are_sound(built: Result, soups: dict[Path, BeautifulSoup]) -> None:
    assert soups
    for path, soup in soups.items():
        name = str(path.relative_to(built.tree.html))
        if name == "index.html":  # forwards to the first page
            continue
        assert soup.html is not None
        assert soup.html.get("lang") == "en", name
        for image in soup.select("img"):
            assert str(image.get("alt", "")).strip(), f"{name}: {str(image)[:200]}"
        ids = [str(node["id"]) for node in soup.select("article [id]")]
        twice = {mark for mark in ids if ids.count(mark) > 1}
        assert not twice, f"{name}: ids used twice: {sorted(twice)}"
        _assert_no_place(path.read_text(encoding="utf-8"), name, built.tree.root)


def test_nothing_is_loaded_from_elsewhere(soups: dict[Path, BeautifulSoup]) -> None:
    for path, soup in soups.items():
        for tag, attribute in (
            ("script", "src"),
            ("img", "src"),
            ("iframe", "src"),
            ("link", "href"),
        ):
            for node in soup.select(f"{tag}[{attribute}]"):
                address = str(node[attribute])
                assert not re.match(r"(https?:)?//", address), f"{path.name}: {address}"


def test_links_inside_the_book_lead_somewhere(
    built: Result, soups: dict[Path, BeautifulSoup]
) -> None:
    marks = {
        path: {str(node["id"]) for node in soup.select("[id]")}
        for path, soup in soups.items()
    }
    for path, soup in soups.items():
        for link in soup.select("a[href]"):
            parts = urlsplit(str(link["href"]))
            if parts.scheme or parts.netloc:
                continue
            target = (
                (path.parent / unquote(parts.path)).resolve() if parts.path else path
            )
            where = f"{path.name} links to {link['href']}"
            assert target.exists(), where
            assert target.is_relative_to(built.tree.html), where
            # The way back from a page of sources leads to the page of the definition,
            # whose mark there may be that of the package which shows it.
            back = path.is_relative_to(built.tree.html / "_modules")
            if parts.fragment and target in marks and not back:
                assert unquote(parts.fragment) in marks[target] | {""}, where


def test_page_weights(
    built: Result,
    soups: dict[Path, BeautifulSoup],
    record_property: Callable[[str, object], None],
) -> None:
    html = built.tree.html
    whole = sum(path.stat().st_size for path in html.rglob("*") if path.is_file())
    record_property("whole site", whole)
    for path, soup in soups.items():
        own = path.stat().st_size
        shared = sum(
            (path.parent / str(node[attribute]).partition("?")[0]).stat().st_size
            for tag, attribute in (("script", "src"), ("link", "href"))
            for node in soup.select(f"{tag}[{attribute}]")
            if (path.parent / str(node[attribute]).partition("?")[0]).is_file()
        )
        name = str(path.relative_to(html))
        record_property(name, f"{own} + {shared} shared")
        print(f"{name}: {own / 1e3:.0f} kB + {shared / 1e6:.1f} MB shared")
        assert own < HEAVIEST_PAGE, name
