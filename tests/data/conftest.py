"""Every test here has an empty cache folder of its own; helpers are importable."""

import sys
from pathlib import Path

import pytest

from lazyrich.data import catalogue


@pytest.fixture(scope="session", autouse=True)
def _helpers():
    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)
    yield
    sys.path.remove(folder)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    monkeypatch.setenv("LAZYRICH_DATA", str(folder))
    catalogue._read.cache_clear()
    return folder


@pytest.fixture(scope="session")
def writers(_helpers):
    import writers

    return writers
