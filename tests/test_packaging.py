"""The ways in: locked dependencies, conda, workflows, the command, the documents."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import rattler
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
CONDA_NAMES = {"torch": "pytorch", "dask": "dask-core", "matplotlib": "matplotlib-base"}
NOT_ON_CONDA = {"sphinx-mathjax-offline"}
SPEC = re.compile(r"^[a-z0-9][a-z0-9._-]* (?:[<>=!]=?[0-9][0-9a-z.*]*,?)+$")


def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True
    )


def requirements() -> dict[str, Requirement]:
    """All requirements of pyproject.toml by name, references to ourselves resolved."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        lines += extra
    found = {}
    for line in lines:
        requirement = Requirement(line)
        found[str(canonicalize_name(requirement.name))] = requirement
    del found["lazyrich"]
    return found


def pins(name: str) -> dict[str, Requirement]:
    """The pinned requirements of one file, hashes left out."""
    found = {}
    for line in (ROOT / "requirements" / name).read_text().splitlines():
        text = line.removesuffix("\\").strip()
        if text and not text.startswith(("#", "--hash")):
            requirement = Requirement(text)
            found[canonicalize_name(requirement.name)] = requirement
    return found


def test_lock_and_constraints_agree() -> None:
    lock, constraints = pins("lock.txt"), pins("constraints.txt")
    assert "torch" not in lock
    torch = constraints.pop("torch")
    assert str(torch) == "torch==2.13.0"
    assert {name: str(pin) for name, pin in lock.items()} == {
        name: str(pin) for name, pin in constraints.items()
    }


def test_every_locked_package_has_hashes() -> None:
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements/lock.txt").read_text().strip())
    pinned = [block for block in blocks if not block.startswith("#")]
    assert len(pinned) == len(pins("lock.txt"))
    for block in pinned:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block[:60]


def test_lock_names_no_place() -> None:
    place = re.compile(r"https?:|file:|--(extra-)?index|--find-links|\+cpu|@ ")
    for name in ("lock.txt", "constraints.txt"):
        assert not place.search((ROOT / "requirements" / name).read_text())


@pytest.mark.parametrize("python", PYTHONS)
def test_lock_satisfies_the_ranges(python: str) -> None:
    environment = {**default_environment(), "python_version": python}
    constraints = pins("constraints.txt")
    for name, requirement in requirements().items():
        pin = constraints[name]
        assert pin.marker is None or pin.marker.evaluate(environment), name
        version = str(pin.specifier).removeprefix("==")
        assert requirement.specifier.contains(version), f"{requirement} locks {version}"


def conda() -> tuple[dict[str, str], dict[str, str]]:
    """Specs of environment.yml by name: conda's own, and those that pip installs."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    own, by_pip = {}, {}
    for entry in environment["dependencies"]:
        if isinstance(entry, str):
            own[entry.split()[0]] = entry
        else:
            by_pip = {line.split()[0]: line for line in entry["pip"]}
    return own, by_pip


def test_conda_environment_matches_pyproject() -> None:
    own, by_pip = conda()
    assert by_pip.pop("-e") == "-e ."
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python = own.pop("python")
    assert SpecifierSet(python.split()[1]) == SpecifierSet(project["requires-python"])
    assert own.pop("pip") == "pip"
    expected = {
        CONDA_NAMES.get(name, name): requirement.specifier
        for name, requirement in requirements().items()
    }
    written = {
        name: SpecifierSet(spec.split()[1]) for name, spec in {**own, **by_pip}.items()
    }
    assert written == expected
    assert set(by_pip) == NOT_ON_CONDA


def test_conda_specs_parse() -> None:
    own, _ = conda()
    for name, spec in own.items():
        assert name == "pip" or SPEC.match(spec), spec
        assert rattler.MatchSpec(spec).name is not None


@pytest.mark.parametrize("name", ["tests.yml", "pages.yml"])
def test_workflow_is_valid(name: str) -> None:
    path = str(ROOT / ".github/workflows" / name)
    schema = ["check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    run = tool(*schema, path)
    assert run.returncode == 0, run.stdout + run.stderr


def test_workflows_are_safe() -> None:
    command = [str(Path(sys.executable).parent / "zizmor"), "--offline", "--quiet"]
    run = subprocess.run(
        [*command, ".github/workflows"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_workflows_run_what_a_developer_runs() -> None:
    tests = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    assert tests["jobs"]["tests"]["strategy"]["matrix"]["python"] == list(PYTHONS)
    steps = [step.get("run") for step in tests["jobs"]["tests"]["steps"]]
    assert ".ci/run" in steps
    pages = yaml.safe_load((ROOT / ".github/workflows/pages.yml").read_text())
    address = pages["env"]["LAZYRICH_REPOSITORY"]
    assert address == "https://github.com/${{ github.repository }}"


def test_ci_script() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    lines = script.read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert lines[-1] == "make test"


def test_pre_commit_hooks_are_local() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    for hook in config["repos"][0]["hooks"]:
        program = ROOT / hook["entry"].split()[0]
        assert hook["language"] == "system"
        assert program.name in {"ruff", "lint-imports", "pyright", "check-jsonschema"}


def test_citation() -> None:
    schema = ["check_jsonschema", "--builtin-schema", "vendor.citation-file-format"]
    run = tool(*schema, "CITATION.cff")
    assert run.returncode == 0, run.stdout + run.stderr
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == project["version"]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "DECISIONS.md"])
def test_documents_link_to_what_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), f"{name} links to {target}"


def test_make_knows_its_targets() -> None:
    targets = ["install", "book", "test", "fast", "lint", "serve", "bench", "clean"]
    run = subprocess.run(
        ["make", "--dry-run", *targets, "chapter", "NAME=x"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    said = run.stdout.replace("'", "")  # settings are quoted
    assert "lazyrich book --scale laptop --device auto --seed 0" in said


def test_info_reports_this_machine() -> None:
    command = [str(Path(sys.executable).parent / "lazyrich"), "info", "--json"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert report["device"]["default"] in {"cpu", "cuda"}
    assert report["threads"]["torch"] >= 1
    assert {"mnist", "digits"} <= set(report["data"])


def test_the_library_alone_gives_its_subpackages_and_loads_nothing_else() -> None:
    code = (
        "import sys, lazyrich\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "assert {'kernels', 'networks', 'dynamics', 'data'} <= set(dir(lazyrich))\n"
        "assert callable(lazyrich.kernels.ntk) and 'torch' in sys.modules\n"
        "assert not hasattr(lazyrich, 'kernel')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def quiet(*command: str, cwd: Path, **variables: str) -> str:
    """Run a command that must succeed, away from this checkout; its output."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | variables
    run = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def tracked() -> list[str]:
    """Files of the checkout that version control has or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = quiet(*command, cwd=ROOT).splitlines()
    return [name for name in names if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution of a clean copy."""
    clean = tmp_path_factory.mktemp("clean")
    for name in tracked():
        (clean / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, clean / name)
    build = "from setuptools import build_meta as b; print(b.build_sdist('dist'))"
    archive = quiet(sys.executable, "-c", build, cwd=clean).splitlines()[-1]
    place = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(clean / "dist" / archive) as content:
        content.extractall(place, filter="data")
    (folder,) = place.iterdir()
    return folder


@pytest.fixture(scope="module")
def installed(distribution: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as installed inside the repository of a user."""
    repository = tmp_path_factory.mktemp("analysis")
    (repository / "pyproject.toml").write_text('[project]\nname = "analysis"\n')
    target = repository / "packages"
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    install = [sys.executable, "-m", "pip", "install", *offline]
    quiet(*install, "--target", str(target), str(distribution), cwd=repository)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    quiet("git", "init", "-q", cwd=repository)
    quiet("git", "add", "pyproject.toml", cwd=repository)
    quiet(*git, "commit", "-qm", "theirs", cwd=repository)
    return target


@pytest.mark.slow
def test_the_source_distribution_holds_tests_and_book(distribution: Path) -> None:
    for name in tracked():
        if not name.startswith(".git/"):
            assert (distribution / name).is_file(), f"{name} is left out"


@pytest.mark.slow
def test_an_installed_package_shows_what_the_book_says(
    installed: Path, tmp_path: Path
) -> None:
    def told(library: Path) -> list[dict]:
        run = "from lazyrich import cli; cli.main(['claims', '--json'])"
        place = {"PYTHONPATH": str(library), "LAZYRICH_RECORDS": str(tmp_path / "none")}
        return json.loads(quiet(sys.executable, "-c", run, cwd=installed, **place))

    theirs, ours = told(installed), told(ROOT / "lib")
    assert theirs == ours
    assert sum(row["verdict"] == "reproduced" for row in theirs) > 100
    assert (installed / "lazyrich" / "py.typed").is_file()


@pytest.mark.slow
def test_results_do_not_carry_the_commit_of_a_user(installed: Path) -> None:
    ask = (
        "import lazyrich; from lazyrich.core import provenance, project\n"
        "from lazyrich.claims import record\n"
        "print(lazyrich.__file__, provenance.git_commit(), project.is_checkout())\n"
        "try: record.keep()\n"
        "except OSError as error: print(error)"
    )
    command = [sys.executable, "-c", ask]
    place, commit, checkout, *error = quiet(
        *command, cwd=installed.parent, PYTHONPATH=str(installed)
    ).split()
    assert Path(place).is_relative_to(installed)
    assert (commit, checkout) == ("None", "False")
    assert " ".join(error).startswith("measurements are kept in a checkout")
