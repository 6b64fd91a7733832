"""What keeps the house in order: layers, light imports, lint, types, the command."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lazyrich import cli

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
CORE = (
    "core",
    "networks",
    "losses",
    "kernels",
    "dynamics",
    "meanfield",
    "data",
    "sweeps",
    "studies",
)
# What a bare GPU machine has; everything else is imported where it is used.
HEAVY = (
    "matplotlib",
    "dask",
    "distributed",
    "mlxtend",
    "sklearn",
    "pooch",
    "papermill",
    "jupytext",
    "IPython",
    "ipywidgets",
    "sympy",
    "mpmath",
    "doit",
    "sphinx",
    "PIL",
    "ot",
)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=environment
    )


def test_import_contracts() -> None:
    done = run(str(BIN / "lint-imports"), "--no-cache")
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_core_imports_without_the_extras() -> None:
    code = (
        "import sys, importlib, pkgutil\n"
        f"for name in {HEAVY!r}: sys.modules[name] = None\n"
        f"for name in {CORE!r}:\n"
        "    package = importlib.import_module(f'lazyrich.{name}')\n"
        "    for found in pkgutil.iter_modules(package.__path__):\n"
        "        importlib.import_module(f'lazyrich.{name}.{found.name}')\n"
    )
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr


def test_lint() -> None:
    done = run(str(BIN / "ruff"), "check", "--no-cache", ".")
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
def test_types() -> None:
    done = run(str(BIN / "pyright"))
    assert done.returncode == 0, done.stdout[-3000:]


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = re.findall(r"^    (\w+) +\S", capsys.readouterr().out, re.MULTILINE)
    assert {"book", "claims", "data", "info", "run", "status", "studies"} <= set(listed)
    for name in listed:
        with pytest.raises(SystemExit) as end:
            cli.main([name, "--help"])
        assert end.value.code == 0
        assert f"lazyrich {name}" in capsys.readouterr().out


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["book", "--scale", "huge"]) == 2
    assert "scale must be one of" in capsys.readouterr().err


def tracked() -> list[Path]:
    listed = run("git", "ls-files", "-co", "--exclude-standard", "-z")
    if listed.returncode != 0:
        pytest.skip("the project is not a git checkout")
    names = [name for name in listed.stdout.split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def test_no_file_names_a_place_of_its_making() -> None:
    here = [str(ROOT), str(Path.home()) + "/"]
    assert len(ROOT.parts) > 2, "too short a path to look for"
    for path in tracked():
        if path.suffix in {".png", ".webp", ".nc", ".gz"}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for place in here:
            assert place not in text, f"{path.relative_to(ROOT)} names {place}"


def test_no_foreign_javascript_and_no_outputs() -> None:
    for path in tracked():
        assert path.suffix not in {".js", ".ipynb", ".woff", ".woff2"}, path
        if path.is_relative_to(ROOT / "book") and path.suffix == ".md":
            assert "application/vnd.jupyter" not in path.read_text()


def test_libraries_do_not_seed_globally() -> None:
    pattern = re.compile(r"\b(torch|np|numpy\.random|random)\.(manual_)?seed\(")
    for path in (ROOT / "lib").rglob("*.py"):
        assert not pattern.search(path.read_text()), path
