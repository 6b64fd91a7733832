"""Which files of the library a chapter rests on."""

from pathlib import Path

import pytest
from publish.tiny_book import Book

from lazyrich.publish.imports import closure

CORE = ("core/__init__", "core/rng")


@pytest.fixture
def package(book: Book) -> Path:
    book.library("core/__init__.py", "")
    book.library("core/rng.py", "")
    book.library("kernels/__init__.py", "from lazyrich.kernels.ntk import ntk")
    book.library("kernels/ntk.py", "def f():\n    from lazyrich.core import rng")
    book.library("data/__init__.py", "from . import images")
    book.library("data/images.py", "from ..core import rng")
    book.library("claims/__init__.py", 'FILES = "ledger"')
    book.library("claims/ledger/paper.yaml", "a: 1")
    book.library("studies/__init__.py", "from lazyrich.studies import other")
    book.library("studies/alpha_sweep.py", "import lazyrich.kernels")
    book.library("studies/other.py", "")
    book.library("lazy.py", 'NAME = "lazyrich.core.rng:generator"')
    return book.root / "lib" / "lazyrich"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import numpy", set()),
        ("import lazyrich.core.rng", {*CORE, "__init__"}),
        (
            "from lazyrich import kernels",
            {*CORE, "__init__", "kernels/__init__", "kernels/ntk"},
        ),
        (
            "%matplotlib inline\nfrom lazyrich.data import load",
            {*CORE, "__init__", "data/__init__", "data/images"},
        ),
        ("from lazyrich import lazy", {*CORE, "__init__", "lazy"}),
    ],
)
def test_closure(package: Path, source: str, expected: set[str]) -> None:
    found = closure([source], package)
    assert found == {package / f"{name}.py" for name in expected}


def test_a_study_counts_when_it_is_named(package: Path) -> None:
    named = closure(['table = sweeps.load("alpha_sweep")'], package)
    assert package / "studies/alpha_sweep.py" in named
    assert package / "kernels/ntk.py" in named


def test_data_files_count_with_their_package(package: Path) -> None:
    assert package / "claims/ledger/paper.yaml" in closure(
        ["from lazyrich import claims"], package
    )
    assert package / "claims/ledger/paper.yaml" not in closure(
        ["from lazyrich import kernels"], package
    )
