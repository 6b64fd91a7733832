"""Several smooth functions of one variable at once, from a table of local polynomials.

Where a function is costly and wanted at millions of points, a table pays: finding the
cell and evaluating a polynomial of low degree takes a few passes over the points,
whatever the function.
"""

import math

import torch
from torch import Tensor

# Of the polynomials in every cell. Each degree more costs two passes over the points,
# and amplifies the rounding of the values more; lower ones ask for many more cells.
_DEGREE = 5


def nodes(cells: int) -> Tensor:
    """Positions in [0, cells] at which the functions are wanted: (cells, 6), float64.

    Cell k reaches from k to k + 1; in each the positions are Chebyshev's, where
    interpolation amplifies the rounding of the values least.
    """
    inside = (1 + _local()) / 2
    left = torch.arange(cells, dtype=torch.float64, device="cpu")
    return left[:, None] + inside


def _local() -> Tensor:
    """Chebyshev's points of the first kind on [-1, 1]."""
    k = torch.arange(_DEGREE + 1, dtype=torch.float64, device="cpu")
    return -torch.cos((2 * k + 1) * math.pi / (2 * _DEGREE + 2))


def _coefficients(values: Tensor) -> Tensor:
    """One row a degree, the highest first, of what Horner's rule looks up."""
    # Small numbers are what the inverse may round: the cell's first value is split off.
    first = values[:, :1]
    powers = torch.linalg.inv(torch.vander(_local(), increasing=True))
    found = powers @ (values - first).T
    found[0] += first[:, 0]
    return found.flip(0)


class Piecewise:
    """Functions given by their values at ``nodes(cells)``, each (cells, 6)."""

    def __init__(self, *values: Tensor) -> None:
        self.cells = len(values[0])
        self._tables = [_coefficients(v) for v in values]

    def __call__(self, position: Tensor) -> list[Tensor]:
        """All functions at ``position``, flat, float64, from 0 to below ``cells``.

        ``position`` is used up: it is turned into the place within the cell. NaN gives
        NaN.
        """
        # The clamp finds a cell for NaN too, which has none.
        cell = position.to(torch.int32).clamp_(0, self.cells - 1)
        place = position.frac_().mul_(2).sub_(1)
        coefficient = torch.empty_like(place)
        found = []
        for highest, *others in self._tables:
            total = highest.index_select(0, cell)
            for table in others:
                torch.index_select(table, 0, cell, out=coefficient)
                torch.addcmul(coefficient, total, place, out=total)
            found.append(total)
        return found
