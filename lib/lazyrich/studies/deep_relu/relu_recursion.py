r"""Measurements on the recursion of the deep ReLU tangent kernel.

``depth`` counts weight layers. Functions that compare with an independent computation
take it as ``oracle``; numbers are the largest errors found.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from lazyrich import data
from lazyrich.core import check
from lazyrich.kernels import ntk, relu_ntk, relu_ntk_correlation
from lazyrich.networks import ReluNetwork

F64 = torch.float64
GAPS = ("2", "1.9", "1.5", "1", "0.7", "0.3", "0.1", "0.01", "0.0001")
"""1 - rho_0 of the nine pairs of inputs that all checks share, as exact decimals."""


def tensor(values: float | Sequence[float] | Sequence[str] | np.ndarray) -> Tensor:
    """Numbers, or decimals as strings, as a float64 tensor."""
    return torch.as_tensor(np.array(values, dtype=float), dtype=F64)


def pair_of_inputs(rho: float, d: int = 2) -> Tensor:
    """Two inputs with |x|^2 = d and correlation ``rho``, shape (2, d)."""
    x = torch.zeros(2, d, dtype=F64)
    x[0, 0] = 1.0
    x[1, 0], x[1, 1] = rho, math.sqrt(1 - rho * rho)
    return x * math.sqrt(d)


def circle(n: int) -> Tensor:
    """n equally spaced points on the unit circle, (n, 2)."""
    angle = 2 * math.pi * torch.arange(n, dtype=F64) / n
    return torch.stack([angle.cos(), angle.sin()], 1)


def require_assumptions(x: Tensor, depth: int) -> None:
    """Refuse what the theorems exclude: they need distinct points on the unit sphere.

    Raises:
        TypeError: inputs that are no floating-point tensor, a depth that is no integer.
        ValueError: a row that is not of unit length, two equal rows, a depth below 1.
    """
    check.tensor("x", x, ndim=2)
    check.positive_int("depth", depth)
    off = (torch.linalg.vector_norm(x, dim=1) - 1).abs()
    if float(off.max()) > 1e-6:
        raise ValueError(
            f"x must hold unit vectors, row {int(off.argmax())} is off by "
            f"{float(off.max()):.2g}"
        )
    if len(torch.unique(x, dim=0)) < len(x):
        raise ValueError("x must hold no point twice")


def refused_inputs() -> float:
    """Share of calls outside the assumptions (or of bad type) that are refused."""
    x = circle(5)
    bad: list[tuple[Any, Any]] = [
        (2 * x, 3), (torch.cat([x, x[:1]]), 3), (x, 0), (x, 2.5), (x.tolist(), 3),
        (x * math.nan, 3), (x[0], 3),
    ]  # fmt: skip
    refused = 0
    for points, depth in bad:
        try:
            require_assumptions(points, depth)
        except (TypeError, ValueError):
            refused += 1
    require_assumptions(x, 3)
    return refused / len(bad)


def one_layer(oracle: Callable[[float], tuple[float, float]]) -> dict[str, float]:
    """Definition 1: the library's first layer against Gaussian averages by quadrature.

    From Sigma_2 and Theta_2 = Theta_1 E[gate gate] + Sigma_2 of pairs with |x|^2 = n_0.
    """
    covariance = gate = 0.0
    for gap in GAPS[1:]:
        rho = 1 - float(gap)
        if abs(rho) < 1e-12:
            rho = 0.25
        relu_relu, gate_gate = oracle(rho)
        sigma, theta = relu_ntk(pair_of_inputs(rho), depth=2)
        covariance = max(covariance, abs(float(sigma[0, 1]) - relu_relu))
        found = float(theta[0, 1] - sigma[0, 1]) / rho
        gate = max(gate, abs(found - gate_gate))
    return {"covariance_error": covariance, "gate_error": gate}


def empirical_routes(seed: int = 0) -> float:
    """Definition 2: layer sum against the product of Jacobians, largest relative error."""
    x = data.sphere(6, 5, seed)
    worst = 0.0
    for widths in ((64,), (16, 48), (32, 32, 32, 32)):
        for bias in (0.0, 1.0):
            net = ReluNetwork(5, widths, bias)
            w = net.init(seed)
            layers = ntk(net, w, x)
            jacobian = torch.func.jacrev(lambda p, net=net: net(p, x))(w)
            features = torch.cat([j.reshape(len(x), -1) for j in jacobian.values()], 1)
            product = features @ features.T
            error = (layers - product).abs().max() / product.abs().max()
            worst = max(worst, float(error))
    return worst


def empirical_kernels(
    widths: Sequence[int], depth: int, bias: float, seeds: int, rho: float = 0.3
) -> np.ndarray:
    """Off-diagonal Theta of finite networks, (len(widths), seeds), n_0 = 2."""
    x = pair_of_inputs(rho)
    found = np.empty((len(widths), seeds))
    for row, n in enumerate(widths):
        net = ReluNetwork(2, (n,) * (depth - 1), bias)
        for seed in range(seeds):
            found[row, seed] = float(ntk(net, net.init(seed), x)[0, 1])
    return found


def convergence_in_width(
    widths: Sequence[int] = (128, 256, 512, 1024), seeds: int = 32
) -> tuple[dict[str, float], dict[tuple[int, float], np.ndarray]]:
    """Theorem 1: means against the recursion and fluctuations against the width.

    Returns:
        ``worst_z``, the largest |mean - limit| in standard errors; ``slope`` of the
        logarithm of the standard deviation, mean over depths 2 to 4 and biases 0 and 1;
        the limits at depth 4; and all kernels by (depth, bias).
    """
    worst, slopes, found, limits = 0.0, [], {}, {}
    for bias in (0.0, 1.0):
        for depth in (2, 3, 4):
            limit = limits[depth, bias] = limit_of_pair(depth, bias)
            sample = found[depth, bias] = empirical_kernels(widths, depth, bias, seeds)
            spread = sample.std(1, ddof=1)
            z = np.abs(sample.mean(1) - limit) / spread * math.sqrt(seeds)
            worst = max(worst, float(z.max()))
            slopes.append(np.polyfit(np.log(widths), np.log(spread), 1)[0])
    numbers = {
        "worst_z": worst,
        "slope": float(np.mean(slopes)),
        "theta_4": limits[4, 0.0],
        "theta_4_bias": limits[4, 1.0],
    }
    return numbers, found


def parallel_inputs(c: float = 2.5) -> float:
    """Proposition 1: relative error of Theta(x, c x) for depths 1 to 50."""
    x = data.sphere(1, 4, 0)
    worst = 0.0
    for depth in range(1, 51):
        sigma, theta = relu_ntk(x, c * x, depth=depth)
        expected = c * 0.5 ** (depth - 1)
        for got, right in ((sigma, expected), (theta, depth * expected)):
            worst = max(worst, abs(float(got[0, 0]) / right - 1))
    return worst


def against_many_digits(
    oracle: Callable[[str, list[int]], list[tuple[Any, Any]]],
    depths: Sequence[int] = (1, 2, 3, 5, 10, 30, 100, 1000),
) -> dict[str, float]:
    """Definitions 3 and 4: relative errors of 1 - rho_{L-1} and of Theta-bar_L."""
    gap_error = kernel_error = 0.0
    for gap in GAPS:
        exact = oracle(gap, list(depths))
        for depth, (right_gap, right_y) in zip(depths, exact, strict=True):
            got_gap, got = relu_ntk_correlation(tensor([gap]), depth)
            error = abs(float(got_gap) / float(right_gap) - 1)
            gap_error = max(gap_error, error)
            right = float(right_y) / depth
            # relative to one where the kernel passes through zero, at depths 1 and 2
            size = abs(right) if depth >= 3 else 1.0
            kernel_error = max(kernel_error, abs(float(got) - right) / size)
    return {"gap_error": gap_error, "kernel_error": kernel_error}


def diagonal_off() -> float:
    """Definition 4: how far the normalised diagonal is from one, over data and depths."""
    x = data.sphere(50, 7, 0, radius=1.0)
    worst = 0.0
    for depth in (1, 3, 30, 1000):
        _, theta = relu_ntk(x, depth=depth, normalised=True)
        worst = max(worst, float((theta.diagonal() - 1).abs().max()))
    return worst


def homogeneity() -> float:
    """Proposition 2: relative error of Theta(c x, c' x') = c c' Theta(x, x')."""
    x = data.sphere(8, 5, 0)
    c = torch.linspace(0.2, 4.0, 8, dtype=F64)
    _, plain = relu_ntk(x, depth=5)
    _, scaled = relu_ntk(c[:, None] * x, depth=5)
    expected = torch.outer(c, c) * plain
    return float(((scaled - expected) / expected).abs().max())


def against_definition(oracle: Callable[[float, int, float], float]) -> float:
    """Normalised kernel against Sigma and Theta as defined, weights of variance 1/2, 1
    and 2: it does not depend on the variance without bias."""
    worst = 0.0
    for rho in (-0.9, -0.5, 0.1, 0.3, 0.7, 0.9):
        for depth in (2, 3, 5, 10, 20):
            got = float(relu_ntk_correlation(tensor(1 - rho), depth)[1])
            for variance in (0.5, 1.0, 2.0):
                right = oracle(rho, depth, variance)
                worst = max(worst, abs(got - right))
    return worst


def invertibility(seed: int = 0) -> dict[str, float]:
    """When the kernel matrix is singular without bias: points of the circle, points of
    S^2 with their antipodes, and generic points of S^2."""

    def eigenvalues(x: Tensor, depth: int) -> Tensor:
        return torch.linalg.eigvalsh(relu_ntk(x, depth=depth, normalised=True)[1])

    def zeros(values: Tensor) -> float:
        return float((values.abs() < 1e-12).sum())

    mismatch = 0.0
    for n in (5, 6, 8):
        for depth in (2, 3, 5, 10, 30):
            matrix = relu_ntk(circle(n), depth=depth, normalised=True)[1]
            by_dft = torch.fft.fft(matrix[0]).real.sort().values
            off = torch.linalg.eigvalsh(matrix) - by_dft
            mismatch = max(mismatch, float(off.abs().max()))
    some = data.sphere(5, 3, seed, radius=1.0)
    both = torch.cat([some, -some])
    generic = data.sphere(40, 3, seed + 1, radius=1.0)
    return {
        "zeros_circle_8": zeros(eigenvalues(circle(8), 2)),
        "zeros_circle_6": zeros(eigenvalues(circle(6), 2)),
        "smallest_circle_8_depth_3": float(eigenvalues(circle(8), 3)[0]),
        "zeros_antipodes": zeros(eigenvalues(both, 2)),
        "smallest_antipodes_depth_3": float(eigenvalues(both, 3)[0]),
        "smallest_generic_depth_2": float(eigenvalues(generic, 2)[0]),
        "rank_linear": float(torch.linalg.matrix_rank(generic @ generic.T)),
        "dft_mismatch": mismatch,
    }


def convex_recursion(depths: Sequence[int]) -> float:
    """Proposition 5: relative error of the recursion of the normalised kernel."""
    gaps = tensor(GAPS[1:])
    worst = 0.0
    for depth in depths:
        gap, theta = relu_ntk_correlation(gaps, depth)
        next_gap, next_theta = relu_ntk_correlation(gaps, depth + 1)
        gate = 1 - 2 * torch.asin(torch.sqrt(gap / 2)) / math.pi
        right = (depth * gate * theta + 1 - next_gap) / (depth + 1)
        error = (next_theta - right).abs() / right.abs().clamp_min(0.05)
        worst = max(worst, float(error.max()))
    return worst


def minimum_over_pairs(depth: int) -> tuple[float, float]:
    """Smallest value of Theta-bar_depth over all pairs, and the rho_0 where it is."""

    def kernel(log_gap: float) -> float:
        # in log(1 + rho_0): the minimum moves close to -1 with depth
        return float(relu_ntk_correlation(tensor(2 - math.exp(log_gap)), depth)[1])

    grid = np.linspace(math.log(1e-7), math.log(1.9), 80)
    place = int(np.argmin([kernel(g) for g in grid]))
    found: Any = optimize.minimize_scalar(
        kernel, bounds=(grid[max(place - 1, 0)], grid[place + 1]), method="bounded",
        options={"xatol": 1e-11},
    )  # fmt: skip
    return float(found.fun), math.exp(float(found.x)) - 1


def fluctuations(
    cases: Sequence[tuple[int, int, int]],
) -> dict[tuple[int, int], np.ndarray]:
    """Normalised diagonal entries of finite networks: {(n, depth): (seeds,)}.

    Args:
        cases: width, depth and number of seeds.
    """
    x = torch.ones(1, 1, dtype=F64)
    found = {}
    for n, depth, seeds in cases:
        net = ReluNetwork(1, (n,) * (depth - 1))
        limit = depth * 0.5 ** (depth - 1)
        values = [float(ntk(net, net.init(s), x)[0, 0]) / limit for s in range(seeds)]
        found[n, depth] = np.array(values)
    return found


def fluctuation_numbers(found: dict[tuple[int, int], np.ndarray]) -> dict[str, Any]:
    """What the ledger asks of ``fluctuations``: means, growth with depth, one law of
    depth over width."""
    worst = max(
        abs(v.mean() - 1) / (v.std(ddof=1) / math.sqrt(len(v))) for v in found.values()
    )
    spread = {case: float(v.std(ddof=1)) for case, v in found.items()}
    wide = max(n for n, _ in spread)
    by_depth = [spread[case] for case in sorted(spread) if case[0] == wide]
    at_tenth = [spread[case] for case in sorted(spread) if case[1] * 10 == case[0]]
    return {
        "worst_z": worst,
        "increasing": bool(np.all(np.diff(by_depth) > 0)),
        "ratio_at_one_tenth": at_tenth[0] / at_tenth[-1],
    }


def limit_of_pair(depth: int, bias: float, rho: float = 0.3) -> float:
    """Theta at infinite width of the pair of ``empirical_kernels``."""
    theta = relu_ntk(pair_of_inputs(rho), depth=depth, bias=bias)[1]
    return float(theta[0, 1])
