"""All studies of the book: importing this module registers them by name.

Commands import it. Chapters import the one study they need, so that their content keys
do not cover the others.
"""

from lazyrich.studies import (
    alpha_sweep,
    convolutional,
    depth,
    fluctuations,
    performance,
    regimes,
    relu_patches,
)

__all__ = [
    "alpha_sweep",
    "convolutional",
    "depth",
    "fluctuations",
    "performance",
    "regimes",
    "relu_patches",
]
