r"""Measurements on the smallest eigenvalue of the deep ReLU kernel matrix.

delta is the smallest angle between two training points; L counts weight layers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.rng import generator
from lazyrich.kernels import relu_ntk
from lazyrich.studies.deep_relu.depth_limit import gaps_of, kernel, smallest_angle
from lazyrich.studies.deep_relu.early_stopping import sphere
from lazyrich.studies.deep_relu.relu_recursion import require_assumptions

F64 = torch.float64


def matrix(x: Tensor, depth: int) -> Tensor:
    """Normalised kernel matrix."""
    return relu_ntk(x, depth=depth, normalised=True)[1]


def smallest(k: Tensor) -> float:
    """Smallest eigenvalue of a symmetric matrix."""
    return float(torch.linalg.eigvalsh(k)[0])


def pair_bound(k: Tensor) -> float:
    """1 - largest off-diagonal entry: the smallest eigenvalue of the worst pair, which
    bounds that of the whole matrix from above (interlacing)."""
    return 1 - float((k - 2 * torch.eye(len(k), dtype=k.dtype)).max())


def random_sets(count: int, least: int, most: int) -> list[Tensor]:
    """Uniform data on spheres, dimensions 3 to 10 and at least 2 d points each."""
    gen = generator("deep-relu/sets", count, least, most)
    found = []
    for trial in range(count):
        draw = torch.rand(2, generator=gen, dtype=F64)
        d = 3 + int(8 * draw[0])
        low = max(least, 2 * d)
        n = low + int((most - low + 1) * draw[1])
        found.append(sphere(n, d, 1000 + trial))
    return found


def upper_bound(sets: Sequence[Tensor], depths: Sequence[int]) -> dict[str, float]:
    """Pair bound: largest violation, and smallest ratio to it from depths 10 and 20 on."""
    violation, ratios = -math.inf, {10: 1.0, 20: 1.0}
    for x in sets:
        for depth in depths:
            k = matrix(x, depth)
            value, bound = smallest(k), pair_bound(k)
            violation = max(violation, value - bound)
            for least in ratios:
                if depth >= least:
                    ratios[least] = min(ratios[least], value / bound)
    return {"violation": violation, "from_10": ratios[10], "from_20": ratios[20]}


def schur_bounds(sets: Sequence[Tensor], depth: int) -> float:
    """Largest violation of the two lower bounds by Schur products, all depths to
    ``depth``:

    lambda(L Theta-bar_L) >= sum_{k<=L-2} lambda(kappa_0(R_k)), and
    lambda(Y_{L+1}) >= max(lambda(Y_L), L lambda(kappa_0(R_{L-1}))) + lambda(R_L).
    """
    worst = -math.inf
    for x in sets:
        total, before = 0.0, smallest(matrix(x, 1))
        for layers in range(1, depth):
            sigma, _ = relu_ntk(x, depth=layers, normalised=True)
            gap = ((1 - sigma) / 2).clamp(0, 1).fill_diagonal_(0.0)
            gate = 1 - 2 * torch.asin(torch.sqrt(gap)) / math.pi
            after_sigma, after = relu_ntk(x, depth=layers + 1, normalised=True)
            value = smallest(after) * (layers + 1)
            of_gate = smallest(gate)
            total += of_gate
            step = max(before, layers * of_gate) + smallest(after_sigma)
            worst = max(worst, total - value, step - value)
            before = value
    return worst


def schur_bound(x: Tensor, depth: int) -> float:
    """(1/L) sum_{k<=L-2} lambda_min(kappa_0(R_k))."""
    total = 0.0
    for layers in range(1, depth):
        sigma, _ = relu_ntk(x, depth=layers, normalised=True)
        gap = ((1 - sigma) / 2).clamp(0, 1).fill_diagonal_(0.0)
        total += smallest(1 - 2 * torch.asin(torch.sqrt(gap)) / math.pi)
    return total / depth


def series_bound(
    x: Tensor, depth: int, coefficients: Callable[[int, int], np.ndarray]
) -> tuple[float, np.ndarray]:
    """(1/2)(1 - sum_{k<K} a_k) with (N - 1) r^K <= 1/2, r the largest |cosine|; and a_k.

    Args:
        coefficients: ``(depth, count) -> a_0, ..., a_{count-1}`` of the kernel's series.

    Raises:
        ValueError: two points are parallel or opposite (r = 1).
    """
    gram = (x @ x.T).fill_diagonal_(0.0)
    r = float(gram.abs().max())
    if r >= 1 - 1e-12:
        raise ValueError("x must hold no parallel or opposite points")
    count = max(8, math.ceil(math.log(0.5 / (len(x) - 1)) / math.log(r)))
    a = coefficients(depth, count)
    return 0.5 * (1 - float(a.sum())), a


def series_bounds(
    sets: Sequence[Tensor], depths: Sequence[int],
    coefficients: Callable[[int, int], np.ndarray],
) -> dict[str, float]:  # fmt: skip
    """Largest violation, least coefficient, and largest sum of coefficients."""
    violation, least, total = -math.inf, math.inf, 0.0
    for x in sets:
        for depth in depths:
            bound, a = series_bound(x, depth, coefficients)
            violation = max(violation, bound - smallest(matrix(x, depth)))
            least, total = min(least, float(a.min())), max(total, float(a.sum()))
    return {"violation": violation, "least": least, "largest_sum": total}


def not_monotone(sets: Sequence[Tensor], depth: int) -> dict[str, Any]:
    """Orthonormal data, whose smallest eigenvalue falls and rises again; and the least
    step of lambda_min(L Theta-bar_L), which never falls."""
    basis = torch.eye(7, dtype=F64)
    values = [smallest(matrix(basis, L)) for L in range(1, 41)]
    least = math.inf
    for x in sets:
        y = [L * smallest(matrix(x, L)) for L in range(1, depth + 1)]
        least = min(least, float(np.diff(y).min()))
    return {
        "at_12": values[11],
        "lowest_at": float(np.argmin(values) + 1),
        "first": values[0],
        "deep": 1 - kernel(1.0, 10**9),
        "least_step": least,
    }


def table(sizes: Sequence[int], depths: Sequence[int], d: int) -> np.ndarray:
    """Fig. 7: smallest eigenvalues of nested uniform data, (len(sizes), len(depths))."""
    x = sphere(max(sizes), d, 21)
    found = np.empty((len(sizes), len(depths)))
    for j, depth in enumerate(depths):
        k = matrix(x, depth)
        for i, n in enumerate(sizes):
            found[i, j] = smallest(k[:n, :n])
    return found


def least_step_in_depth(sets: Sequence[Tensor], depth: int) -> float:
    """Least change of lambda_min from one depth to the next, depths 1 to ``depth``."""
    least = math.inf
    for x in sets:
        values = [smallest(matrix(x, L)) for L in range(1, depth + 1)]
        least = min(least, float(np.diff(values).min()))
    return least


@dataclass(frozen=True)
class DepthWindow:
    """Depths that suit a data set.

    Attributes:
        delta: smallest angle between training points.
        eta: typical (median) angle from a query to the nearest training point.
        stable: depth from which the worst pair's eigenvalue is at least ``floor``.
        expressive: depth up to which the nearest point keeps a weight of ``share``.
    """

    delta: float
    eta: float
    stable: int
    expressive: int


def depth_window(
    x: Tensor, queries: Tensor, *, floor: float = 0.1, share: float = 0.5
) -> DepthWindow:
    """The Goldilocks depths of a data set: deep enough to be stable without early
    stopping, shallow enough to tell a query from the mean.

    From the crossover law F: 1 - F(L delta/(3 pi)) >= floor, and the nearest
    neighbour's weight (4 F(L eta/(3 pi)) - 1)/3 >= share. The window is empty where
    ``stable`` exceeds ``expressive``.

    Args:
        x: training points, unit vectors (n, d).
        queries: unit vectors (m, d).
        floor: between 0 and 3/4.
        share: between 0 and 1.

    Raises:
        ValueError: inputs off the sphere or repeated, levels out of range.
    """
    require_assumptions(x, 1)
    floor = check.real("floor", floor, above=0.0, most=0.74)
    share = check.real("share", share, above=0.0, most=0.999)
    delta = smallest_angle(x)
    nearest = gaps_of(queries, x).min(1).values
    eta = 2 * math.asin(math.sqrt(float(nearest.median()) / 2))
    unit = 3 * math.pi
    return DepthWindow(
        delta, eta,
        math.ceil(_crossing(1 - floor) * unit / delta),
        math.floor(_crossing((3 * share + 1) / 4) * unit / eta),
    )  # fmt: skip


def _crossing(value: float) -> float:
    """z at which (1 + q + q^2 + q^3)/4 = value, q = 1/(1 + z)."""
    roots = np.roots([1, 1, 1, 1 - 4 * value])
    (q,) = [r.real for r in roots if abs(r.imag) < 1e-9 and 0 < r.real <= 1]
    return float(1 / q - 1)
