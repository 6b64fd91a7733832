"""Examples in docstrings and in the texts run, and print what they say."""

import doctest
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import lazyrich
from lazyrich import data, dynamics, kernels, networks

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (networks, kernels, dynamics, data)
# What a reader of the reference has imported, beside the names of the package itself.
NAMES = {
    "np": np,
    "torch": torch,
    "lazyrich": lazyrich,
    **{package.__name__.partition(".")[2]: package for package in PACKAGES},
}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(r"```(python|text)\n(.*?)```", re.DOTALL)


def functions() -> dict[str, object]:
    """Public functions of the packages by dotted path."""
    return {
        f"{package.__name__}.{name}": found
        for package in PACKAGES
        for name in package.__all__
        if inspect.isfunction(found := inspect.unwrap(getattr(package, name)))
    }


def examples() -> dict[str, doctest.DocTest]:
    """Everything public of the packages that has an example."""
    finder = doctest.DocTestFinder(exclude_empty=True, recurse=True)
    found = {}
    for package in PACKAGES:
        for name in package.__all__:
            value = inspect.unwrap(getattr(package, name))
            if not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            path = f"{package.__name__}.{name}"
            names = {name: getattr(package, name) for name in package.__all__}
            for test in finder.find(value, path, globs=names | NAMES):
                if test.examples:
                    found[test.name] = test
    return found


@pytest.mark.parametrize("path", functions())
def test_every_public_function_has_an_example(path: str) -> None:
    assert path in examples(), f"{path} has no example in its docstring"


@pytest.mark.parametrize("path", examples())
def test_examples_print_what_they_say(path: str) -> None:
    said: list[str] = []
    torch.manual_seed(0)
    doctest.DocTestRunner(optionflags=FLAGS).run(examples()[path], out=said.append)
    assert not said, "".join(said)


@pytest.mark.parametrize("document", ["README.md", "book/quickstart.md"])
def test_the_quickstart_prints_what_it_shows(
    document: str, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = BLOCK.findall((ROOT / document).read_text())
    assert [kind for kind, _ in blocks] == ["python", "text"] * (len(blocks) // 2)
    assert blocks
    names: dict[str, object] = {}
    for (_, source), (_, shown) in zip(blocks[::2], blocks[1::2], strict=True):
        exec(compile(source, document, "exec"), names)
        assert capsys.readouterr().out == shown


def test_the_readme_and_the_book_begin_alike() -> None:
    readme, page = (
        BLOCK.findall((ROOT / name).read_text())[:2]
        for name in ("README.md", "book/quickstart.md")
    )
    assert readme == page
