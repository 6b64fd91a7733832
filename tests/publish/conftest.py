"""A tiny book for each test that asks for one."""

from pathlib import Path

import pytest
from publish.tiny_book import Book


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)
