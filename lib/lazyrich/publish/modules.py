"""One Python module as data: which names its statements bind, and what they use.

Nothing is run. A *chain* is a dotted name as code spells it, such as ``kernels.ntk``. It
is *absolute* if it starts at the package, ``lazyrich.kernels.ntk``.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

_DOTTED = re.compile(r"\w+(?:\.\w+)+(?::\w+)?")
_RESOURCES = re.compile(r"(importlib\.)?resources\b")
# What reads a module's names in a way that the syntax tree does not show.
_REFLECTION = {"globals", "vars", "eval", "exec", "locals"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)
_SETS = ("chains", "absolute", "touches", "studies")
_COMPOUND = (ast.If, ast.Try, ast.With, ast.For, ast.While, ast.Match)


@dataclass(frozen=True)
class Statement:
    """A statement at the top of a module that is no import.

    Attributes:
        binds: names that it defines.
        digest: of its syntax tree, without docstrings and comments.
        chains: dotted names that it mentions, as spelled.
        absolute: absolute chains that it mentions in imports of its own and in strings.
        touches: modules that its own imports run.
        effect: it may do more on import than to define its names.
        reads_files: it asks where its file lies, hence may read what lies beside it.
        reflects: it may use any name of its module.
        studies: names under which it registers a study.
    """

    binds: tuple[str, ...]
    digest: str
    chains: frozenset[str]
    absolute: frozenset[str] = frozenset()
    touches: frozenset[str] = frozenset()
    effect: bool = False
    reads_files: bool = False
    reflects: bool = False
    studies: frozenset[str] = frozenset()


@dataclass
class Module:
    """The statements of a module, and what its imports at the top bring.

    Attributes:
        statements: everything but imports and docstrings, in order.
        imports: absolute chains that a name may stand for.
        stars: modules of which every name is imported.
        touches: modules that run when this one is imported.
        named: modules imported as ``import lazyrich.core.rng``, without another name.
    """

    statements: list[Statement] = field(default_factory=list)
    imports: dict[str, set[str]] = field(default_factory=dict)
    stars: set[str] = field(default_factory=set)
    touches: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)

    @functools.cached_property
    def bindings(self) -> dict[str, list[Statement]]:
        """The statements that define a name."""
        found: dict[str, list[Statement]] = {}
        for statement in self.statements:
            for name in statement.binds:
                found.setdefault(name, []).append(statement)
        return found

    def binding(self, name: str) -> list[Statement]:
        """The statements that define ``name``; none if it is imported or unknown."""
        return self.bindings.get(name, [])

    @property
    def effects(self) -> list[Statement]:
        """The statements that do something on import."""
        return [found for found in self.statements if found.effect]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "statements": [
                {
                    k: sorted(v) if isinstance(v, frozenset) else v
                    for k, v in vars(s).items()
                }
                for s in self.statements
            ],
            "imports": {name: sorted(found) for name, found in self.imports.items()},
            "stars": sorted(self.stars),
            "touches": sorted(self.touches),
            "named": sorted(self.named),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Module":
        """The module that ``as_dict`` told of."""
        statements = []
        for found in content["statements"]:
            sets: dict[str, Any] = {key: frozenset(found[key]) for key in _SETS}
            found = {**found, **sets, "binds": tuple(found["binds"])}
            statements.append(Statement(**found))
        imports = {name: set(found) for name, found in content["imports"].items()}
        rest = (set(content[key]) for key in ("stars", "touches", "named"))
        return cls(statements, imports, *rest)


def unused(imports: dict[str, set[str]], named: set[str], chains: set[str]) -> set[str]:
    """Absolute chains that imports bring and that no chain is seen to start with.

    They may be used unseen.
    """
    starts = {".".join(c.split(".")[:end]) for c in chains for end in range(1, 9)}
    roots = {name.partition(".")[0] for name in named}
    found = {t for name in imports.keys() - starts - roots for t in imports[name]}
    return found | (named - starts)


def digest(tree: ast.AST) -> str:
    """A short name for what the code does: docstrings, comments, layout do not count."""
    return hashlib.sha256(_dump(tree).encode()).hexdigest()[:20]


def _dump(node: object) -> str:
    """As ``ast.dump`` without docstrings, at a third of its time."""
    if isinstance(node, ast.AST):
        parts = []
        for name in node._fields:
            value = getattr(node, name, None)
            if (
                name == "body"
                and isinstance(node, _DEFINITIONS)
                and ast.get_docstring(node, clean=False) is not None
            ):
                value = node.body[1:]
            if name != "ctx":
                parts.append(_dump(value))
        return f"{type(node).__name__}({','.join(parts)})"
    if isinstance(node, list):
        return f"[{','.join(map(_dump, node))}]"
    return repr(node)


def parse(source: str, here: str, root: str) -> Module:
    """The module with this source.

    Args:
        source: Python code.
        here: dotted name of the package that relative imports start from.
        root: name of the package whose modules are of interest.

    Raises:
        SyntaxError: the source is no Python.
    """
    tree = ast.parse(source)
    module = Module()
    makers = {
        node.name
        for node in tree.body
        if isinstance(node, _FUNCTIONS)
        and any(_called(call) == "Study" for call in _calls(node))
    } | {"Study"}
    for node in tree.body:
        for child in _imports(node):
            _bind(child, here, root, module)
        if isinstance(node, ast.Import | ast.ImportFrom) or _is_text(node):
            continue
        if _only_when_run(node) or _is_export(node):
            continue
        module.statements.append(_statement(node, here, root, makers))
    return module


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_export(node: ast.AST) -> bool:
    """``__all__``: it decides what a star brings, and stars count whole."""
    return bool(_targets(node) == ("__all__",))


def _only_when_run(node: ast.AST) -> bool:
    """``if __name__ == "__main__"`` and ``if TYPE_CHECKING``: nothing on import."""
    if not isinstance(node, ast.If) or node.orelse:
        return False
    names = {child.id for child in ast.walk(node.test) if isinstance(child, ast.Name)}
    return names in ({"__name__"}, {"TYPE_CHECKING"})


def _imports(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that run with the module: not those inside functions."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node
    elif isinstance(node, (*_COMPOUND, ast.ExceptHandler, ast.match_case)):
        for child in ast.iter_child_nodes(node):
            yield from _imports(child)


def _brought(
    node: ast.Import | ast.ImportFrom, here: str, root: str
) -> Iterator[tuple[str, str, str]]:
    """Of one import: the name it binds, the absolute chain, and the module it runs."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.partition(".")[0] == root:
                yield (
                    alias.asname or root,
                    alias.asname and alias.name or root,
                    alias.name,
                )
        return
    base = node.module or ""
    if node.level:
        above = here.split(".")
        above = above[: len(above) - node.level + 1]
        base = ".".join([*above, *([base] if base else [])])
    if base.partition(".")[0] == root:
        for alias in node.names:
            yield alias.asname or alias.name, f"{base}.{alias.name}", base


def _bind(
    node: ast.Import | ast.ImportFrom, here: str, root: str, module: Module
) -> None:
    for name, target, base in _brought(node, here, root):
        module.touches.add(base)
        if isinstance(node, ast.Import) and name != base and target != base:
            module.named.add(base)
        if name == "*":
            module.stars.add(base)
        else:
            module.imports.setdefault(name, set()).add(target)


def _targets(node: ast.AST) -> tuple[str, ...]:
    """Names that a statement binds where it stands."""
    if isinstance(node, _DEFINITIONS):
        return (node.name,)
    if isinstance(node, ast.Assign):
        parts = node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign):
        parts = [node.target]
    elif isinstance(node, _COMPOUND):
        return tuple(
            child.id
            for child in ast.walk(node)
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)
        ) + tuple(c.name for c in ast.walk(node) if isinstance(c, _DEFINITIONS))
    else:
        return ()
    return tuple(name for part in parts for name in _names(part))


def _names(target: ast.AST) -> Iterator[str]:
    """Names in the target of an assignment; ``a.b = ...`` and ``a[b] = ...`` bind none."""
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Tuple | ast.List):
        for part in target.elts:
            yield from _names(part)
    elif isinstance(target, ast.Starred):
        yield from _names(target.value)


def _statement(node: ast.stmt, here: str, root: str, makers: set[str]) -> Statement:
    inside = Module()
    for child in ast.walk(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            _bind(child, here, root, inside)
    chains = set(_chains(node))
    roots = {chain.partition(".")[0] for chain in chains}
    absolute = inside.stars | unused(inside.imports, inside.named, chains)
    for chain in chains:
        name, dot, rest = chain.partition(".")
        absolute |= {f"{to}{dot}{rest}" for to in inside.imports.get(name, ())}
    absolute |= set(_in_strings(node, root))
    binds = _targets(node)
    return Statement(
        binds=binds,
        digest=digest(node),
        chains=frozenset(chains),
        absolute=frozenset(absolute),
        touches=frozenset(inside.touches),
        effect=not binds or isinstance(node, _COMPOUND),
        reads_files="__file__" in roots or any(map(_RESOURCES.match, chains)),
        reflects=bool(_REFLECTION & roots) or "sys.modules" in chains,
        studies=frozenset(_studies(node, makers)),
    )


def _chains(node: ast.AST) -> Iterator[str]:
    """The dotted names in a piece of code, each as long as it is written."""
    if isinstance(node, ast.Name):
        yield node.id
        return
    if isinstance(node, ast.Attribute):
        parts = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            yield ".".join([inner.id, *reversed(parts)])
        else:
            yield from _chains(inner)
        return
    for child in ast.iter_child_nodes(node):
        yield from _chains(child)


def _in_strings(node: ast.AST, root: str) -> Iterator[str]:
    """Absolute chains in string literals, ``lazyrich.core.rng:generator`` among them.

    Of a string put together from parts, what comes before the first gap is known.
    """
    for child in ast.walk(node):
        if not isinstance(child, ast.Constant) or not isinstance(child.value, str):
            continue
        word = child.value
        if _DOTTED.fullmatch(word.rstrip(".")) and word.partition(".")[0] == root:
            yield word.replace(":", ".").rstrip(".") + (".*" if word[-1] == "." else "")
        elif word == f"{root}.":
            yield f"{root}.*"


def words(source: str) -> set[str]:
    """All string literals."""
    return {
        child.value
        for child in ast.walk(ast.parse(source))
        if isinstance(child, ast.Constant) and isinstance(child.value, str)
    }


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    return (child for child in ast.walk(node) if isinstance(child, ast.Call))


def _called(call: ast.Call) -> str:
    called = call.func
    return (
        called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    )


def _studies(node: ast.stmt, makers: set[str]) -> Iterator[str]:
    """Names given to ``Study`` or to a function of this module that makes studies."""
    for call in _calls(node):
        if _called(call) in makers:
            given: Iterable[ast.expr] = [
                *call.args[:1],
                *(word.value for word in call.keywords if word.arg == "name"),
            ]
            for value in given:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value
