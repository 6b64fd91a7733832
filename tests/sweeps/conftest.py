"""The toy study, importable by this process and by its workers."""

import importlib
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def toy_path():
    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)
    yield folder
    sys.path.remove(folder)


@pytest.fixture(scope="session")
def toy(toy_path):
    return importlib.import_module("toy_study")
