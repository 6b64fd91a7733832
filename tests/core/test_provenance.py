"""A number carries the commit of this package, never that of somebody else."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lazyrich.core import provenance

NAME = "pyproject.toml"


def git(folder: Path, *command: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *identity, *command], cwd=folder, check=True, text=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a package in it."""
    if shutil.which("git") is None:
        pytest.fail("needs git")
    folder = tmp_path / "repository"
    (folder / "lib" / "package").mkdir(parents=True)
    (folder / "lib" / "package" / "x.py").write_text("")
    git(folder.parent, "init", "-q", str(folder))
    return folder


def commit(folder: Path, project: str) -> Path:
    (folder / NAME).write_text(f'[project]\nname = "{project}"\n')
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "x")
    return folder / "lib" / "package"


def test_the_commit_of_our_own_repository_is_told_in_full(repository: Path) -> None:
    package = commit(repository, "lazyrich")
    found = provenance.git_commit(package)
    assert found is not None
    assert len(found) == 40
    (package / "x.py").write_text("1")
    provenance.git_commit.cache_clear()
    assert provenance.git_commit(package) == f"{found}-dirty"


def test_a_copy_inside_the_repository_of_a_user_has_no_commit(repository: Path) -> None:
    assert provenance.git_commit(commit(repository, "somebodys-analysis")) is None


def test_no_repository_and_no_commit(tmp_path: Path) -> None:
    assert provenance.git_commit(tmp_path) is None


def test_versions_of_what_is_missing_are_none() -> None:
    found = provenance.versions(("numpy", "no-such-package"))
    assert list(found) == ["python", "numpy", "no-such-package"]
    assert found["numpy"]
    assert found["no-such-package"] is None
