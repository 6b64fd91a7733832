"""All studies of the book: importing this module registers them by name.

Commands import it. Chapters import the one study they need, so that their content keys
do not cover the others.
"""

from lazyrich.studies.finite_width import regimes
from lazyrich.studies.lazy_and_rich import (
    alpha_sweep,
    depth,
    fluctuations,
    learned_kernel,
    performance,
    relu_patches,
)

__all__ = [
    "alpha_sweep",
    "depth",
    "fluctuations",
    "learned_kernel",
    "performance",
    "regimes",
    "relu_patches",
]
