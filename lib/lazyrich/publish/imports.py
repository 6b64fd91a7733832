"""Which definitions of the library some code rests on, found without running anything.

``from lazyrich.kernels import ntk`` rests on the function ``ntk``, on what it uses, and
so on; not on its neighbours in the module, and not on what else the face
``kernels/__init__.py`` brings. Where the syntax tree cannot know which name of a module
is meant (the module is handed on as a value, ``import *``, ``globals()``), all of the
module counts. Statements that run on import for their effect count with every module
that is imported.

Not seen: a mutable object that one module makes and another changes on import in an
assignment, and names that are put together at run time from parts that do not start with
the name of the package.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from lazyrich.core import files
from lazyrich.publish import cells, modules
from lazyrich.publish.modules import Module, Statement


class Library:
    """The modules under ``package``, each read when it is first needed.

    Args:
        package: folder of the package, such as ``lib/lazyrich``.
        notes: file in which ``remember`` keeps what was read; a module is looked up
            there by the hash of its file.
    """

    def __init__(self, package: Path, notes: Path | None = None) -> None:
        self.package = package
        self._notes = notes
        self._noted: dict[str, Any] = _read_notes(notes)
        self._used: dict[str, Module] = {}
        self.root = package.name
        self.paths = dict(sorted(_paths(package)))
        self._modules: dict[str, Module] = {}
        self._files: dict[Path, str] = {}
        self._studies: dict[str, set[str]] | None = None

    def module(self, name: str) -> Module:
        """The module of that dotted name."""
        if name not in self._modules:
            path = self.paths[name]
            is_face = path.name == "__init__.py"
            here = name if is_face else name.rpartition(".")[0]
            content = path.read_bytes()
            mark = f"{name} {hashlib.sha256(content).hexdigest()}"
            if mark in self._noted:
                found = Module.from_dict(self._noted[mark])
            else:
                found = modules.parse(content.decode(), here, self.root)
            self._modules[name], self._used[mark] = found, found
        return self._modules[name]

    def remember(self) -> None:
        """Keep what was read for the next time, if anything of it is new."""
        if self._notes is None or self._used.keys() <= self._noted.keys():
            return
        content = {mark: found.as_dict() for mark, found in self._used.items()}
        files.write_if_changed(
            self._notes, json.dumps({"code": _OWN, "modules": content})
        )

    def below(self, name: str) -> list[str]:
        """The module and, of a package, all modules in it."""
        return [n for n in self.paths if n == name or n.startswith(f"{name}.")]

    def studies(self) -> dict[str, set[str]]:
        """Absolute chains of what registers a study, by the study's name."""
        if self._studies is None:
            self._studies = {}
            for name in self.below(f"{self.root}.studies"):
                for statement in self.module(name).statements:
                    for word in statement.studies:
                        found = self._studies.setdefault(word, set())
                        found |= {f"{name}.{bound}" for bound in statement.binds}
        return self._studies

    def file_digest(self, path: Path) -> str:
        """Of a data file."""
        if path not in self._files:
            content = hashlib.sha256(path.read_bytes())
            self._files[path] = content.hexdigest()[:20]
        return self._files[path]


# Notes are worth something only to the code that wrote them.
_OWN = hashlib.sha256(Path(modules.__file__).read_bytes()).hexdigest()


def _read_notes(path: Path | None) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    return content["modules"] if content.get("code") == _OWN else {}


def _paths(package: Path) -> Iterator[tuple[str, Path]]:
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def closure(
    sources: Iterable[str],
    library: Library | Path,
    without: Collection[str] = (),
) -> dict[str, str]:
    """What the ``sources`` rest on: a digest for each definition by its dotted name.

    The names are without that of the package, ``kernels.empirical.ntk``. A module's
    statements that run on import for their effect are listed under ``module.*``, data
    files that may be read by their path.

    Args:
        sources: the cells of a chapter, run in one namespace, with all that IPython
            allows in a cell; one that cannot be run uses nothing.
        library: the package, or its folder such as ``lib/lazyrich``.
        without: modules (dotted, without the package) that count only where the sources
            name them, not where the library does.
    """
    if isinstance(library, Path):
        library = Library(library)
    whole = "\n".join(cells.as_python(source) for source in sources)
    code = modules.parse(whole, "", library.root)
    search = _Search(library, {f"{library.root}.{name}" for name in without})
    search.sources(code, modules.words(whole))
    return search.run()


class _Search:
    """Walks from definition to definition."""

    def __init__(self, library: Library, without: set[str]) -> None:
        self.library = library
        self.without = without
        self.found: dict[str, str] = {}
        self.queue: list[tuple[str, str, Statement]] = []
        self.seen: set[tuple[str, str]] = set()
        self.chains: set[tuple[str, bool]] = set()
        self.touched: set[str] = set()
        self.whole: set[tuple[str, bool]] = set()

    def sources(self, code: Module, words: set[str]) -> None:
        """Start from the cells of a chapter."""
        chains = {chain for s in code.statements for chain in s.chains}
        for target in modules.unused(code.imports, code.named, chains):
            self.chain(target)
        for base in code.stars:
            self.everything(base)
        self.touch(code.touches)
        for statement in code.statements:
            self.uses(code, statement)
        for word in words:
            for target in self.library.studies().get(word, ()):
                self.chain(target)

    def run(self) -> dict[str, str]:
        """Follow everything; what was found, in order of names."""
        while self.queue:
            name, module, statement = self.queue.pop()
            old = self.found.get(name)
            self.found[name] = (
                statement.digest if old is None else f"{old} {statement.digest}"
            )
            self.uses(self.library.module(module), statement, module)
        return {name: self.found[name] for name in sorted(self.found)}

    def uses(self, module: Module, statement: Statement, name: str = "") -> None:
        """Follow the names in a statement of ``module``, which is called ``name``."""
        inside = name in self.without
        for chain in statement.chains:
            first, dot, rest = chain.partition(".")
            if name:
                self.bound(name, first)
            for target in module.imports.get(first, ()):
                self.chain(f"{target}{dot}{rest}", bool(name) and not inside)
        if name and module.stars and statement.chains:
            for base in module.stars:
                self.everything(base, not inside)
        for target in statement.absolute:
            self.chain(target, bool(name) and not inside)
        self.touch(statement.touches)
        if name and statement.reflects:
            self.everything(name, not inside)
        if name and statement.reads_files:
            for path in _data(self.library.paths[name].parent):
                shown = str(path.relative_to(self.library.package))
                self.found[shown] = self.library.file_digest(path)

    def bound(self, module: str, name: str) -> None:
        """Reach the statements of ``module`` that define ``name``."""
        if (module, name) in self.seen:
            return
        self.seen.add((module, name))
        shown = f"{module}.{name}".partition(".")[2]
        for statement in self.library.module(module).binding(name):
            self.touch([module])
            self.queue.append((shown, module, statement))

    def chain(self, target: str, from_library: bool = False) -> None:
        """Reach what an absolute chain names."""
        if (target, from_library) in self.chains:
            return
        self.chains.add((target, from_library))
        paths = self.library.paths
        parts = target.split(".")
        here = parts[0]
        for place, part in enumerate(parts[1:], 1):
            below = f"{here}.{part}"
            if part == "*":
                for name in self.library.below(here):
                    self.everything(name, from_library)
                return
            if from_library and (here in self.without or below in self.without):
                return
            if here not in paths:
                return
            module = self.library.module(here)
            known = False
            if module.binding(part):
                self.bound(here, part)
                known = True
            rest = parts[place + 1 :]
            for other in module.imports.get(part, ()):
                known = known or other != below
                if other.startswith(f"{below}."):
                    # The face has a name of the module that it comes from.
                    self.bound(below, other.rpartition(".")[2])
                elif other != below:
                    self.chain(".".join([other, *rest]), from_library)
            if below in paths:
                self.touch([below])
                # A name of the face hides the module of the same name.
                if rest or not known:
                    here = below
                    continue
            if not known:
                # A name that comes from a star, or that is made at run time.
                self.everything(here, from_library)
            return
        if here in paths:
            self.everything(here, from_library)

    def everything(self, name: str, from_library: bool = False) -> None:
        """Reach all of a module: what it defines, and what it brings to others."""
        if (name, from_library) in self.whole or name not in self.library.paths:
            return
        self.whole.add((name, from_library))
        module = self.library.module(name)
        self.touch([name])
        for bound in module.bindings:
            self.bound(name, bound)
        brought = set().union(*module.imports.values())
        if self.library.paths[name].name != "__init__.py":
            # What it uses itself is followed from there; the rest is for others.
            chains = {chain for s in module.statements for chain in s.chains}
            brought = modules.unused(module.imports, module.named, chains)
            from_library = True
        for target in brought:
            self.chain(target, from_library)
        for base in module.stars:
            self.everything(base, from_library)

    def touch(self, names: Iterable[str]) -> None:
        """Importing modules runs their effects, and those of what they import."""
        queue = list(names)
        while queue:
            name = queue.pop()
            parts = name.split(".")
            for end in range(1, len(parts) + 1):
                one = ".".join(parts[:end])
                if one in self.touched or one not in self.library.paths:
                    continue
                self.touched.add(one)
                module = self.library.module(one)
                queue += module.touches
                queue += [t for targets in module.imports.values() for t in targets]
                if one not in self.without:
                    shown = f"{one}.*".partition(".")[2]
                    self.queue += [(shown, one, effect) for effect in module.effects]


def _data(folder: Path) -> Iterator[Path]:
    """Files that are not code, in ``folder`` and in its folders without modules."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if path.name != "__pycache__" and not any(path.glob("*.py")):
                yield from _data(path)
        elif path.suffix not in {".py", ".pyc"}:
            yield path
