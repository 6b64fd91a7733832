"""Which files of the library some code rests on, found without running anything."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

BY_NAME = "studies"


def closure(sources: Iterable[str], package: Path) -> set[Path]:
    """Files of ``package`` that the ``sources`` import, directly or through others.

    Every import statement counts, also inside functions; so does a string literal that
    is the dotted name of a module, and, in ``sources`` themselves, one that is the name
    of a study. A subpackage counts with the data files beside its modules.

    Args:
        sources: Python code, as in the cells of a chapter; IPython lines are allowed.
        package: folder of the package, such as ``lib/lazyrich``.
    """
    modules = _modules(package)
    studies = {
        name.rpartition(".")[2]: name
        for name in modules
        if name.startswith(f"{package.name}.{BY_NAME}.")
    }
    found: set[str] = set()
    queue: list[str] = []
    for source in sources:
        tree = ast.parse(_plain(source))
        queue += _named(tree, package.name, "", modules)
        queue += [studies[word] for word in _literals(tree) if word in studies]
    while queue:
        name = queue.pop()
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            module = ".".join(parts[:end])
            if module in modules and module not in found:
                found.add(module)
                path = modules[module]
                here = module if path.name == "__init__.py" else ".".join(parts[:-1])
                tree = ast.parse(path.read_text(encoding="utf-8"))
                queue += _named(tree, package.name, here, modules)
    files = {modules[name] for name in found}
    folders = {modules[name].parent for name in found} - {package}
    return files | {path for folder in folders for path in _data(folder)}


def _modules(package: Path) -> dict[str, Path]:
    names = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        names[".".join(part for part in parts if part != "__init__")] = path
    return names


def _data(folder: Path) -> Iterator[Path]:
    """Files that are not code, in ``folder`` and in its folders without modules."""
    for path in folder.iterdir():
        if path.is_dir():
            if path.name != "__pycache__" and not any(path.glob("*.py")):
                yield from _data(path)
        elif path.suffix not in {".py", ".pyc"}:
            yield path


def _plain(source: str) -> str:
    """``source`` without the lines that only IPython understands."""
    return "\n".join(
        "pass" if line.startswith(("%", "!", "?")) else line
        for line in source.splitlines()
    )


def _literals(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _named(
    tree: ast.AST, root: str, here: str, modules: dict[str, Path]
) -> Iterator[str]:
    """Dotted names under ``root`` that ``tree``, in package ``here``, mentions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == root:
                    yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = here.split(".")
                above = above[: len(above) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            if base.partition(".")[0] == root:
                yield base
                for alias in node.names:
                    name = f"{base}.{alias.name}"
                    if name in modules:
                        yield name
    for word in _literals(tree):
        if word.partition(".")[0] == root and word.partition(":")[0] in modules:
            yield word.partition(":")[0]
