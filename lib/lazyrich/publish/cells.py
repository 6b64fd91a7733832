"""Code cells as plain Python: magics, shell commands and help lines as IPython reads them.

``%time f(x)`` is a call of IPython with the text ``f(x)``, and ``%%bash`` one with the text
of the cell. Such a text counts as code where it is Python, because a magic may run it.
"""

import ast
from collections.abc import Iterator

_RUN = {"run_cell_magic", "run_line_magic"}


def as_python(source: str) -> str:
    """``source`` as Python code that names all that the cell may use.

    Empty for a cell that is no Python even to IPython: such a cell cannot be run. The
    code is meant to be read, not to be run.
    """
    if _parses(source):
        return source
    # Imported only for the cells that need it: it takes as long as all keys together.
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        plain = TransformerManager().transform_cell(source)
        inner = [as_python(text) for text in _given_to_magics(ast.parse(plain))]
    except (SyntaxError, ValueError):
        return ""
    return "\n".join([plain, *inner])


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


def _given_to_magics(tree: ast.AST) -> Iterator[str]:
    """The texts that magics get: the rest of their line, and their cell."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            given = call.args[1:] if call.func.attr in _RUN else []
            for text in given:
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    yield text.value.strip("\n")
