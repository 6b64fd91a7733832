"""The library reference: pages that hold every public definition of a package.

``{library} lazyrich.kernels`` documents a package: first what its face exports, under the
names that users write, ``lazyrich.kernels.ntk``; then, module by module, what else is
public behind it, ``lazyrich.kernels.zonal.harmonics``. So a definition has one place, its
anchor is its dotted path, and a page is complete whatever modules come and go.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_OPTIONS = (":members:", ":inherited-members:", ":special-members: __call__")


class Library(SphinxDirective):
    """``{library} package``: every public definition of a package and its modules."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The descriptions, with the modules as sections."""
        (package,) = self.arguments
        lines = ["`````{eval-rst}", *_lines(package), "`````"]
        found = nodes.section(ids=[nodes.make_id(f"reference of {package}")])
        found.document = self.state.document
        text = StringList(lines, source=self.env.docname)
        self.state.nested_parse(text, self.content_offset, found, match_titles=True)
        return found.children


def modules(package: ModuleType) -> list[ModuleType]:
    """The public modules behind a package, by name; those of its subpackages too if it
    has a face, else they are on pages of their own."""
    found = []
    for entry in pkgutil.iter_modules(getattr(package, "__path__", [])):
        if entry.name.startswith("_") or (entry.ispkg and not exported(package)):
            continue
        module = importlib.import_module(f"{package.__name__}.{entry.name}")
        found += _below(module) if entry.ispkg else [module]
    return found


def _below(package: ModuleType) -> list[ModuleType]:
    """A subpackage and all its public modules."""
    entries = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    names = [entry.name for entry in entries if "._" not in entry.name]
    return [package, *map(importlib.import_module, names)]


def definitions(module: ModuleType) -> list[str]:
    """Names of the public functions and classes that a module defines."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isroutine(inspect.unwrap(value)))
        and getattr(value, "__module__", None) == module.__name__
    ]


def exported(package: ModuleType) -> dict[str, object]:
    """What the face of a package offers."""
    return {name: getattr(package, name) for name in getattr(package, "__all__", [])}


def skip_foreign(
    _app: Sphinx, _what: str, _name: str, member: Any, _skip: bool, _options: Any
) -> bool | None:
    """Leave out what classes inherit from others than ours, from a tuple or a figure."""
    # of a property, of a cached one, of a method
    function = getattr(member, "fget", None) or getattr(member, "func", None)
    function = function or inspect.unwrap(member)
    if not inspect.isroutine(function):
        return None
    return None if _is_ours(getattr(function, "__module__", None)) else True


def _is_ours(module: str | None) -> bool:
    return module is not None and module.partition(".")[0] == "lazyrich"


def _lines(name: str) -> Iterator[str]:
    package = importlib.import_module(name)
    face = exported(package)
    yield from _automodule(name, [])
    for module in modules(package):
        here = {
            known
            for known, value in vars(module).items()
            if any(value is other for other in face.values())
        }
        others = [known for known in definitions(module) if known not in here]
        if not others:
            continue
        yield from (module.__name__, "-" * len(module.__name__), "")
        if module.__name__.rpartition(".")[2] in face:  # has the name of a definition
            yield from _one_by_one(module, others)
        else:
            yield from _automodule(module.__name__, sorted(here))


def _automodule(name: str, without: list[str]) -> Iterator[str]:
    yield f".. automodule:: {name}"
    yield from (f"   {option}" for option in _OPTIONS)
    if without:
        yield f"   :exclude-members: {', '.join(without)}"
    yield ""


def _one_by_one(module: ModuleType, known: list[str]) -> Iterator[str]:
    for name in known:
        kind = "class" if inspect.isclass(vars(module)[name]) else "function"
        yield f".. auto{kind}:: {module.__name__}.{name}"
        if kind == "class":
            yield from (f"   {option}" for option in _OPTIONS)
        yield ""
