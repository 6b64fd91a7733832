"""Where a number comes from: the commit of this package, and the versions behind it."""

import functools
import importlib.metadata
import platform
import subprocess
import tomllib
from pathlib import Path

PACKAGES = ("lazyrich", "torch", "numpy", "scipy", "xarray")
_HERE = Path(__file__).resolve().parent


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str | None]:
    """Version by name, Python first; None for a package that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


@functools.cache
def git_commit(folder: Path = _HERE) -> str | None:
    """The whole commit of the checkout that this package is, ``-dirty`` if changed.

    None if there is none. A copy that is installed somewhere inside a repository of the
    user's is no part of it: the repository has to be this package's own.

    Args:
        folder: where the package lies.
    """
    top = _git(folder, "rev-parse", "--show-toplevel")
    if not top or not _is_ours(Path(top) / "pyproject.toml"):
        return None
    return _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *command: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *command],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _is_ours(path: Path) -> bool:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return content.get("project", {}).get("name") == __name__.partition(".")[0]
