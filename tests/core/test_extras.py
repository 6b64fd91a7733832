"""A missing package is named together with the command that installs it."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lazyrich import cli
from lazyrich.core import extras

ROOT = Path(__file__).resolve().parents[2]
# What runs a part of the library, the package that it needs, and the extra.
PARTS = {
    "from lazyrich import publish": ("papermill", "book"),
    "from lazyrich.publish import site": ("doit", "book"),
    "import lazyrich.figures": ("matplotlib", "chapters"),
    "from lazyrich.figures.lazy_and_rich import flow": ("matplotlib", "chapters"),
    "from lazyrich.theory import scaling": ("sympy", "chapters"),
    "from lazyrich import data\ndata.fetch('mnist', 'nowhere')": ("pooch", "data"),
    "from pathlib import Path\nfrom lazyrich.data import formats\n"
    "formats.read_image_folder(Path())": ("PIL", "chapters"),
    "import torch\nfrom lazyrich import meanfield\n"
    "x, m = torch.eye(2), torch.tensor([0.5, 0.5])\n"
    "meanfield.wasserstein(x, x[:1], m, torch.ones(1))": ("ot", "transport"),
}


@pytest.mark.parametrize("code", PARTS)
def test_what_to_install_is_said(code: str) -> None:
    package, extra = PARTS[code]
    hide = f"import sys\nsys.modules[{package!r}] = None\n"
    run = subprocess.run(
        [sys.executable, "-c", hide + code], capture_output=True, text=True, cwd=ROOT
    )
    last = run.stderr.strip().splitlines()[-1]
    assert package in last
    assert last.endswith(f"pip install 'lazyrich[{extra}]'")


def test_the_extras_exist_and_are_enough() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = project["optional-dependencies"]
    assert {extra for _, extra in PARTS.values()} <= set(known)


def test_commands_say_it_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        extras.require("no_such_package", "this", "book")

    monkeypatch.setattr("lazyrich.data.fetch", refuse)
    assert cli.main(["data", "mnist", "--fetch"]) == 2
    told = "this needs the package no_such_package: pip install 'lazyrich[book]'"
    assert capsys.readouterr().err == f"lazyrich: {told}\n"
