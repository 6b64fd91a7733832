r"""Measurements on the limit of depth of the normalised ReLU tangent kernel.

rho_0 is the cosine of the angle between two inputs, gap = 1 - rho_0; kernels of any
depth come from ``kernels.relu_ntk_any_depth``.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from lazyrich.core.rng import numpy_generator
from lazyrich.kernels import (
    abel_constant,
    relu_ntk,
    relu_ntk_any_depth,
    relu_ntk_correlation,
)
from lazyrich.studies.deep_relu.relu_recursion import GAPS, minimum_over_pairs, tensor

F64 = torch.float64
Numbers = dict[str, float]


def kernel(gap: float, depth: int) -> float:
    """Theta-bar of one pair at one depth."""
    return float(relu_ntk_any_depth(tensor(gap), depth)[1])


def by_layer(gaps: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """1 - rho_l and Theta-bar_{l+1} for l = 0, ..., depth - 1: two (depth, pairs)."""
    columns = [relu_ntk_correlation(gaps, k) for k in range(1, min(depth, 3) + 1)]
    gap, y = columns[-1][0].clone(), columns[-1][1] * len(columns)
    found_gap = [g for g, _ in columns]
    found = [t for _, t in columns]
    for layer in range(len(columns), depth):
        # one more layer from this one: the recursion forgets where it started
        angle = 2 * torch.asin(torch.sqrt(gap / 2))
        gap, _ = relu_ntk_correlation(gap, 2)
        y = y - y * angle / math.pi + 1 - gap
        found_gap.append(gap)
        found.append(y / (layer + 1))
    return torch.stack(found_gap), torch.stack(found)


def gaps_of(x: Tensor, y: Tensor | None = None) -> Tensor:
    """1 - cos of all pairs of unit vectors from their distances, exact zeros on the
    diagonal of one set with itself."""
    other = x if y is None else y
    distance = torch.cdist(x, other, compute_mode="donot_use_mm_for_euclid_dist")
    gap = (distance.square() / 2).clamp_(0, 2)
    if y is None:
        gap.fill_diagonal_(0.0)
    return gap


def kernel_matrix(x: Tensor, depth: int, y: Tensor | None = None) -> Tensor:
    """Normalised kernel of unit vectors at any depth."""
    return relu_ntk_any_depth(gaps_of(x, y), depth)[1]


# ----------------------------------------------------------------- correlations


def kappa_1_function(iterates: int = 200) -> dict[str, Any]:
    """Definition 5: kappa_1 increases, lies above the diagonal, and iterates to one."""
    gap = torch.linspace(2, 0, 4001, dtype=F64)
    after, _ = relu_ntk_correlation(gap, 2)
    return {
        "increasing": bool((after.diff() < 0).all()),
        "above_diagonal": bool((after[:-1] < gap[:-1]).all()),
        "iterate": 1 - float(relu_ntk_correlation(tensor(2.0), iterates + 1)[0]),
    }


def correlations_rise(depth: int = 2000) -> dict[str, Any]:
    """Lemma 1: rho_l rises strictly, and l^2 (1 - rho_l) stays bounded from l = 10."""
    gaps, _ = by_layer(tensor(GAPS), depth)
    layers = torch.arange(depth, dtype=F64)[:, None]
    return {
        "rising": bool((gaps.diff(dim=0) < 0).all()),
        "largest": float((gaps * layers.square())[10:].max()),
    }


def correlation_rate() -> dict[str, Any]:
    """Rate of 1 - rho_l: constants C, and the rest of the two-term law over
    log^2 l / l^2, which must be positive, bounded and falling."""
    c = abel_constant(tensor(GAPS))
    start = tensor((2.0, 1.0, 0.5, 0.1))
    constant = abel_constant(start)
    rests = []
    for power in range(1, 6):
        layer = 10**power
        gap, _ = relu_ntk_any_depth(start, layer + 1)
        ratio = gap * layer**2 * 2 / (9 * math.pi**2)
        rest = ratio - 1 + (3 * math.log(layer) + 2 * constant) / layer
        rests.append(rest * layer**2 / math.log(layer) ** 2)
    rest = torch.stack(rests)
    return {
        "C_orthogonal": float(c[3]),
        "opposite_against_orthogonal": float(c[0] - c[3]),
        "C_close": float(c[8]),
        "rest_smallest": float(rest.min()),
        "rest_largest": float(rest.max()),
        "rest_falling": bool((rest.diff(dim=0) < 0).all()),
    }


def angle_at(gap: float, depth: int) -> float:
    """theta_{depth-1} times l + (3/2) log l + C, over 3 pi, l = depth - 1."""
    start = tensor(gap)
    after, _ = relu_ntk_any_depth(start, depth)
    theta = 2 * math.asin(math.sqrt(float(after) / 2))
    layer = depth - 1
    scale = layer + 1.5 * math.log(layer) + float(abel_constant(start))
    return theta * scale / (3 * math.pi)


def offspring_law(count: int) -> np.ndarray:
    """p_0, ..., p_{count-1}: coefficients of kappa_1; what is left is in the last."""
    k = np.arange((count - 1) // 2)
    even = np.cumprod(np.concatenate([[1.0], (2 * k[1:] - 1) / (2 * k[1:])]))
    p = np.zeros(count)
    p[0], p[1] = 1 / math.pi, 0.5
    p[2 : 2 + 2 * len(k) : 2] = even / ((2 * k + 2) * (2 * k + 1) * math.pi)
    p[-1] += 1 - p.sum()
    return p


def survival(
    generations: Sequence[int], trees: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Share of branching processes alive, by generation, and 1 - rho_l(0).

    Offspring follow ``offspring_law``; every tree starts with one individual.
    """
    cumulative = np.cumsum(offspring_law(1_000_001))
    gen = numpy_generator("branching", seed)
    tree = np.arange(trees)
    alive = {}
    for generation in range(1, max(generations) + 1):
        children = np.searchsorted(cumulative, gen.random(len(tree)), side="right")
        tree = np.repeat(tree, np.minimum(children, len(cumulative) - 1))
        alive[generation] = len(np.unique(tree)) / trees
    found = np.array([alive[g] for g in generations])
    exact = [float(relu_ntk_correlation(tensor(1.0), g + 1)[0]) for g in generations]
    return found, np.array(exact)


def worst_survival_deviation(found: np.ndarray, exact: np.ndarray, trees: int) -> float:
    """Largest difference in standard errors of a share."""
    error = np.sqrt(exact * (1 - exact) / trees)
    return float(np.max(np.abs(found - exact) / error))


# ----------------------------------------------------------------------- the limit


def limit_numbers() -> Numbers:
    """Theorem 2: the kernel of a pair with rho_0 = 1/2 at large depths, and all pairs
    at depth 10^12."""
    found = {f"excess_1e{k}": kernel(0.5, 10**k) - 0.25 for k in (4, 5, 6)}
    far = relu_ntk_any_depth(tensor(GAPS), 10**12)[1]
    found["off_at_1e12"] = float((far - 0.25).abs().max())
    return found


def rate_of_the_kernel() -> Numbers:
    """Slope of L (Theta-bar - 1/4) in log L between 10^5 and 10^6, and the largest
    difference from (3/8) log L + C/4 - 3/8 at L = 2 10^4 for rho_0 <= 0.9."""
    scaled = [10**k * (kernel(0.5, 10**k) - 0.25) for k in (5, 6)]
    gaps = tensor([g for g in GAPS if float(g) >= 0.1])
    depth = 20_000
    excess = depth * (relu_ntk_any_depth(gaps, depth)[1] - 0.25)
    constant = abel_constant(gaps) / 4 - 0.375
    off = excess - 0.375 * math.log(depth) - constant
    return {
        "slope": (scaled[1] - scaled[0]) / math.log(10),
        "off_constant": float(off.abs().max()),
    }


def depth_below(gap: float, value: float) -> int:
    """First depth > 2 at which Theta-bar of a close pair is below ``value``."""
    low, high = 2, 2
    while kernel(gap, high) >= value:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if kernel(gap, middle) >= value else (low, middle)
    return high


def depth_in_units_of_separation(gaps: Sequence[float], value: float) -> np.ndarray:
    """``depth_below`` over 3 pi/theta_0 for every pair."""
    theta = 2 * np.arcsin(np.sqrt(np.array(gaps) / 2))
    depths = [depth_below(gap, value) for gap in gaps]
    return np.array(depths) * theta / (3 * math.pi)


def crossover_errors(
    deltas: Sequence[float], law: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Largest |Theta-bar - F| over depths up to 60 times 3 pi/delta, in units of delta:
    all depths to 600, then 150 on a logarithmic grid; ``shifted`` takes L - 1 for L."""
    delta = np.array(deltas)
    gaps = tensor(2 * np.sin(delta / 2) ** 2)
    _, first = by_layer(gaps, 600)
    depths = list(range(1, 601))
    rows = list(first.numpy())
    last = 60 * 3 * math.pi / delta
    for depth in np.unique(np.geomspace(601, last.max(), 150).astype(int)):
        depths.append(int(depth))
        rows.append(relu_ntk_any_depth(gaps, int(depth))[1].numpy())
    L, found = np.array(depths)[:, None], np.array(rows)
    inside = np.maximum(last, 600) >= L
    off = np.abs(found - law(L * delta / (3 * math.pi))) * inside
    shifted = np.abs(found - law((L - 1) * delta / (3 * math.pi))) * inside
    return {"sup": off.max(0) / delta, "shifted": shifted.max(0) / delta}


def first_order_slope(delta: float = 1e-6) -> float:
    """Relative error of 1 - Theta-bar = (L - 1) delta/(2 pi) for L = 2, 3, 10."""
    gap = 2 * math.sin(delta / 2) ** 2
    worst = 0.0
    for depth in (2, 3, 10):
        drop = 1 - kernel(gap, depth)
        worst = max(worst, abs(drop * 2 * math.pi / ((depth - 1) * delta) - 1))
    return worst


def peak_width(depth: int, value: float = 0.625) -> float:
    """Angle at which Theta-bar_depth has fallen to ``value``."""
    found: Any = optimize.brentq(
        lambda a: kernel(2 * math.sin(a / 2) ** 2, depth) - value, 1e-9, 1.5, xtol=1e-14
    )
    return float(found)


def overshoot(gap: float, depth: int = 400) -> tuple[float, int]:
    """Largest Theta-bar over depths 3 to ``depth``, and where."""
    _, found = by_layer(tensor([gap]), depth)
    values = found[2:, 0]
    return float(values.max()), int(values.argmax()) + 3


def least_correlations(depths: Sequence[int]) -> dict[str, Any]:
    """Where Theta-bar_L is smallest over pairs, and the signs of its slope around:
    falling next to rho_0 = -1, rising on [0, 1]."""
    places = np.array([minimum_over_pairs(depth)[1] for depth in depths])
    falling = rising = True
    for depth, place in zip(depths, places, strict=True):
        left = tensor(2 - np.linspace(0, 0.9, 30) * (1 + place))
        right = tensor(np.linspace(1, 0, 200))
        falling &= bool((relu_ntk_correlation(left, depth)[1].diff() < 0).all())
        rising &= bool((relu_ntk_correlation(right, depth)[1].diff() > 0).all())
    return {"places": places, "falling": falling, "rising": rising}


def logarithmic_ratios(places: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Definition 7 for rho_0 = 1/2: both ratios of a_n = Theta-bar_{n+1}, n = 0, 1, ...

    Differences come from the recursion, Theta-bar' - Theta-bar =
    (rho' - (1 + L theta/pi) Theta-bar)/(L + 1), not from stored values.
    """
    gaps, found = by_layer(tensor([0.5]), max(places) + 4)
    theta = 2 * torch.asin(torch.sqrt(gaps / 2))
    L = torch.arange(1, len(found) + 1, dtype=F64)[:, None]
    step = (1 - gaps[1:] - (1 + (L * theta)[:-1] / math.pi) * found[:-1]) / (L[:-1] + 1)
    excess = (found - 0.25)[:, 0]
    first = [float(excess[n + 1] / excess[n]) for n in places]
    second = [float(step[n + 1, 0] / step[n, 0]) for n in places]
    return np.array(first), np.array(second)


# --------------------------------------------------------------------- arithmetic


def scalar_recursions(depth: int, gap: float = 0.5) -> dict[str, tuple[float, float]]:
    """1 - rho_{L-1} and Theta-bar_L of one pair by four ways to compute in float64.

    ``textbook``: kappa_0 and kappa_1 of rho. ``direct``: 1 - rho is the state, and
    sin(theta) - theta cos(theta) evaluated as written. ``series``: its Taylor series.
    ``compensated``: the series, and Kahan's sums.
    """
    sin, cos, asin, sqrt, pi = math.sin, math.cos, math.asin, math.sqrt, math.pi
    rho = y = 1 - gap
    for _ in range(depth - 1):
        rest = pi - math.acos(min(1.0, rho))
        rho = (sqrt(max(0.0, 1 - rho * rho)) + rho * rest) / pi
        y = y * rest / pi + rho
    found = {"textbook": (1 - rho, y / depth)}

    e, y = gap, 1 - gap
    for _ in range(depth - 1):
        t = 2 * asin(sqrt(e / 2))
        e -= (sin(t) - t * cos(t)) / pi
        y += 1 - e - y * t / pi
    found["direct"] = (e, y / depth)

    terms = [(-1) ** k * 2 * (k + 1) / math.factorial(2 * k + 3) for k in range(14)]
    for name, keep in (("series", 0.0), ("compensated", 1.0)):
        e, y, carry_e, carry_y = gap, 1 - gap, 0.0, 0.0
        for _ in range(depth - 1):
            t = 2 * asin(sqrt(e / 2))
            s = t * t
            total = 0.0
            for c in terms[4::-1] if t < 0.05 else terms[::-1]:
                total = total * s + c
            change = -(total * t * s / pi) - carry_e
            moved = e + change
            carry_e, e = ((moved - e) - change) * keep, moved
            change = 1 - e - y * t / pi - carry_y
            moved = y + change
            carry_y, y = ((moved - y) - change) * keep, moved
        found[name] = (e, y / depth)
    return found


def relative_errors(depths: Sequence[int]) -> dict[str, np.ndarray]:
    """Errors of ``scalar_recursions`` and of the library: (len(depths), 2) each.

    The exact values are those of the jump by the Abel function, which the chapter
    compares with fifty digits.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for depth in depths:
        gap, theta = relu_ntk_any_depth(tensor(0.5), depth)
        for name, (e, t) in scalar_recursions(depth).items():
            errors = abs(e / float(gap) - 1), abs(t / float(theta) - 1)
            found.setdefault(name, []).append(errors)
    return {name: np.array(rows) for name, rows in found.items()}


# ------------------------------------------------------------------------- data


def entries_and_weights(
    x: Tensor, query: Tensor, depths: Sequence[int]
) -> dict[str, np.ndarray]:
    """Fig. 4: kernel entries between points, between a query and the points, and the
    weights of the prediction, by depth.

    Args:
        x: unit vectors (n, d).
        query: one unit vector (d,).

    Returns:
        ``train`` (depths, n (n-1)/2), ``cross`` and ``weights`` (depths, n).
    """
    n = len(x)
    above = torch.triu_indices(n, n, 1)
    rows: dict[str, list[np.ndarray]] = {"train": [], "cross": [], "weights": []}
    for depth in depths:
        k = kernel_matrix(x, depth)
        cross = kernel_matrix(query[None, :], depth, x)[0]
        rows["train"].append(k[above[0], above[1]].numpy())
        rows["cross"].append(cross.numpy())
        rows["weights"].append(torch.linalg.solve(k, cross).numpy())
    return {name: np.array(values) for name, values in rows.items()}


def smallest_eigenvalues(x: Tensor, depths: Sequence[int]) -> np.ndarray:
    """Smallest eigenvalue of the normalised kernel matrix at every depth."""
    found = []
    for depth in depths:
        matrix = relu_ntk(x, depth=depth, normalised=True)[1]
        found.append(float(torch.linalg.eigvalsh(matrix)[0]))
    return np.array(found)


def smallest_angle(x: Tensor) -> float:
    """Smallest angle between two of the unit vectors."""
    gap = gaps_of(x)
    gap.fill_diagonal_(2.0)
    return 2 * math.asin(math.sqrt(float(gap.min()) / 2))
