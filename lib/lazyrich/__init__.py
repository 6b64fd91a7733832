"""Training regimes of wide neural networks: lazy, rich, and how to tell them apart.

``import lazyrich`` is enough: a subpackage is imported when it is first named.
"""

import importlib
import pkgutil
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if name in __dir__() and not name.startswith("_"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__)]
