"""Packages that only parts of the library need: what to install where one is missing."""

import importlib.util


class MissingExtra(ModuleNotFoundError):
    """A package is not installed; the message holds the command that installs it."""


def require(package: str, what: str, extra: str) -> None:
    """Refuse to go on without a package.

    Args:
        package: as it is imported, such as ``matplotlib``.
        what: the part that needs it, such as ``drawing figures``.
        extra: of this library, such as ``chapters``.

    Raises:
        MissingExtra: the package is not installed.

    >>> require("no_such_package", "dreaming", "chapters")
    Traceback (most recent call last):
    lazyrich.core.extras.MissingExtra: dreaming needs ... pip install 'lazyrich[chapters]'
    """
    if importlib.util.find_spec(package) is None:
        raise MissingExtra(
            f"{what} needs the package {package}: pip install 'lazyrich[{extra}]'",
            name=package,
        )
