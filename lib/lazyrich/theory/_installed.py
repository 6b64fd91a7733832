"""Imported before all of theory: says what to install where it cannot compute.

On its own, because the oracle shares no code with what it judges.
"""

import importlib.util

for _package in ("sympy", "mpmath"):
    if importlib.util.find_spec(_package) is None:
        raise ModuleNotFoundError(
            f"theory needs the package {_package}: pip install 'lazyrich[chapters]'",
            name=_package,
        )
