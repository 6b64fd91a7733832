"""Versions of what decides a number: Python and the packages behind the computation."""

import importlib.metadata
import platform

PACKAGES = ("lazyrich", "torch", "numpy", "scipy", "xarray")


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str | None]:
    """Version by name, Python first; None for a package that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found
