"""The library reference: every public definition has a place, and claims lead to it."""

import importlib
import inspect
import pkgutil
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import lazyrich
from lazyrich import claims

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["quickstart", "reference"] + [
    path.stem for path in sorted((ROOT / "book").glob("reference_*.md"))
]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Dotted paths of the anchors in a book of the reference pages alone."""
    root = tmp_path_factory.mktemp("reference")
    (root / "book").mkdir()
    for page in PAGES:
        shutil.copy(ROOT / f"book/{page}.md", root / "book")
    (root / "book/flow.md").write_text("# The model and its flow\n\nElsewhere.\n")
    shutil.copytree(ROOT / "book/_assets", root / "book/_assets")
    shutil.copy(ROOT / "book/references.bib", root / "book")
    shutil.copy(ROOT / "_config.yml", root)
    toc = {
        "format": "jb-book",
        "root": "book/flow",
        "chapters": [{"file": f"book/{page}"} for page in PAGES],
    }
    (root / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False))
    build = ["jupyter_book", "build", str(root), "-W", "-n", "--keep-going"]
    code = "import sys; from jupyter_book.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *build[1:]],
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    packed = (root / "_build/html/objects.inv").read_bytes().split(b"\n", 4)[4]
    lines = zlib.decompress(packed).decode().splitlines()
    return {line.split(" ", 1)[0] for line in lines if " py:" in line}


def public_modules() -> list[ModuleType]:
    """All modules of the library that are not private, packages included."""
    found = []
    for entry in pkgutil.walk_packages(lazyrich.__path__, "lazyrich."):
        if not any(part.startswith("_") for part in entry.name.split(".")):
            found.append(importlib.import_module(entry.name))
    return found


def definitions() -> Iterator[tuple[str, object, list[str]]]:
    """Public functions and classes, with the paths under which they may be described:
    where they are defined, and where a package exports them."""
    modules = public_modules()
    faces = [module for module in modules if hasattr(module, "__all__")]
    for module in modules:
        for name, value in vars(module).items():
            if name.startswith("_") or not callable(value):
                continue
            if getattr(value, "__module__", None) != module.__name__:
                continue
            if not (inspect.isclass(value) or inspect.isroutine(inspect.unwrap(value))):
                continue
            paths = [f"{module.__name__}.{name}"]
            paths += [
                f"{face.__name__}.{other}"
                for face in faces
                for other in face.__all__
                if getattr(face, other) is value
            ]
            yield name, value, paths


def test_every_public_definition_has_an_anchor(inventory: set[str]) -> None:
    missing = [paths for _, _, paths in definitions() if not inventory & set(paths)]
    assert not missing


def test_every_public_method_has_an_anchor(inventory: set[str]) -> None:
    missing = []
    for _, value, paths in definitions():
        if not inspect.isclass(value):
            continue
        # Where a package exports a class, what defines it is a second name.
        path = [path for path in paths if path in inventory][-1]
        for base in value.__mro__:
            for name, method in vars(base).items():
                function = method  # or of a property, of a cached one, of a class
                for key in ("fget", "func", "__func__"):
                    function = getattr(method, key, None) or function
                if not (inspect.isfunction(function) and function.__doc__):
                    continue
                if not function.__module__.startswith("lazyrich"):
                    continue
                if not name.startswith("_") and f"{path}.{name}" not in inventory:
                    missing.append(f"{path}.{name}")
    assert not missing


def test_what_networks_share_is_described_with_each(inventory: set[str]) -> None:
    for name in ("FullyConnected", "WideResNet"):
        for method in ("init", "__call__", "n_params", "check_params", "pullback"):
            assert f"lazyrich.networks.{name}.{method}" in inventory


def test_what_measures_a_claim_has_an_anchor(inventory: set[str]) -> None:
    measured = {check.function for check in claims.checks().values()}
    assert len(measured) > 100
    assert not measured - inventory
