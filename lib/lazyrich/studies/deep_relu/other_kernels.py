r"""Measurements beyond the bias-free ReLU kernel: biases, other maps, other embeddings."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lazyrich import data
from lazyrich.kernels import abel_constant, ntk, relu_ntk, relu_ntk_any_depth
from lazyrich.networks import ReluNetwork
from lazyrich.studies.deep_relu.relu_recursion import circle, pair_of_inputs, tensor

F64 = torch.float64


class Layers(NamedTuple):
    """Kernels of one pair with |x|^2 = n0, one entry a layer 1, ..., L.

    ``q`` and ``theta`` are diagonal entries; gaps are what off-diagonal ones lack.
    """

    q: np.ndarray
    sigma_gap: np.ndarray
    theta: np.ndarray
    theta_gap: np.ndarray

    @property
    def angle(self) -> np.ndarray:
        """Angle between the inputs as each layer sees them."""
        return 2 * np.arcsin(np.sqrt(self.sigma_gap / self.q / 2))

    @property
    def normalised(self) -> np.ndarray:
        """Theta(x, x')/Theta(x, x)."""
        return 1 - self.theta_gap / self.theta


_TERMS = [(-1) ** k * 2 * (k + 1) / math.factorial(2 * k + 3) for k in range(9)]


def _lost(t: float) -> float:
    """(sin t - t cos t)/pi without cancellation."""
    if t > 0.5:
        return (math.sin(t) - t * math.cos(t)) / math.pi
    total, square = 0.0, t * t
    for c in reversed(_TERMS):
        total = total * square + c
    return total * square * t / math.pi


def by_layer(gap: float, depth: int, *, variance: float = 1.0, bias: float) -> Layers:
    """The recursion with weights of any variance and biases, gaps carried throughout.

    Args:
        gap: 1 - x.x'/n0 of the inputs.
        depth: number of weight layers.
        variance: of the weights; 2 is He's scaling.
        bias: standard deviation of the biases.
    """
    half, b = variance / 2, bias * bias
    rows = np.empty((4, depth))
    # Sigma_1 = variance x.x'/n0 + bias^2
    q, sigma_gap = variance + b, variance * gap
    theta, theta_gap = q, sigma_gap
    for layer in range(depth):
        rows[:, layer] = q, sigma_gap, theta, theta_gap
        t = 2 * math.asin(math.sqrt(max(0.0, sigma_gap / q / 2)))
        sigma_gap = half * (sigma_gap - q * _lost(t))
        q = half * q + b
        theta_gap = half * (theta_gap + (theta - theta_gap) * t / math.pi) + sigma_gap
        theta = half * theta + q
    return Layers(*rows)


# ------------------------------------------------------------------------- biases


def bias_against_digits(
    oracle: Callable[[str, int, str], tuple[Any, Any]],
) -> float:
    """Relative errors of c and of Theta off the diagonal against many digits."""
    worst = 0.0
    for beta in ("0.1", "1"):
        for gap in ("2", "1", "0.1"):
            found = by_layer(float(gap), 30, bias=float(beta))
            for depth in (1, 2, 3, 5, 10, 30):
                sigma, theta = (float(v) for v in oracle(gap, depth, beta))
                k = depth - 1
                got = (
                    found.sigma_gap[k] / found.q[k],
                    found.theta_gap[k] / found.theta[k],
                )
                worst = max(worst, abs(got[0] / sigma - 1), abs(got[1] / theta - 1))
                matrices = relu_ntk(pair_of_inputs(1 - float(gap)), depth=depth,
                                    bias=float(beta), normalised=True)  # fmt: skip
                for matrix, right in zip(matrices, (sigma, theta), strict=True):
                    worst = max(worst, abs(float(matrix[0, 1]) - (1 - right)))
    return worst


def rank_one_limit(betas: Sequence[float] = (0.1, 1.0)) -> dict[str, float]:
    """With bias the normalised kernel tends to one off the diagonal: rates and constants.

    Standard normal weights, unscaled ReLU.
    """
    ratio = 0.0
    found: dict[str, float] = {}
    for beta in betas:
        for name, gap in (("opposite", 2.0), ("orthogonal", 1.0), ("close", 0.1)):
            layers = by_layer(gap, 90, bias=beta)
            lost = layers.theta_gap / layers.theta
            at_60 = lost[59] / layers.angle[59]
            ratio = max(ratio, abs(at_60 - (1 + math.sqrt(2)) / math.pi))
            found[f"{name}_{beta:g}".replace(".", "_")] = 2 ** (90 / 2) * lost[-1]
    eigenvalues = []
    for depth in (2, 3, 5, 10, 20, 40):
        matrix = relu_ntk(
            math.sqrt(2) * circle(8), depth=depth, bias=0.1, normalised=True
        )[1]
        eigenvalues.append(float(torch.linalg.eigvalsh(matrix)[0]))
    found["ratio_off"] = ratio
    found["smallest_10"] = eigenvalues[3]
    found["smallest_40"] = eigenvalues[5]
    found["halvings"] = math.log2(eigenvalues[4] / eigenvalues[5])
    return found


def simulated_gap(
    width: int = 400, depth: int = 12, seeds: int = 24
) -> dict[str, float]:
    """1 - normalised kernel of random networks with bias 1, orthogonal inputs, over the
    two predictions: that of the recursion, and 3/4, of a limit as without bias."""
    x = pair_of_inputs(0.0)
    net = ReluNetwork(2, (width,) * (depth - 1), bias=1.0)
    gaps = []
    for seed in range(seeds):
        k = ntk(net, net.init(seed), x)
        gaps.append(1 - float(k[0, 1] / torch.sqrt(k[0, 0] * k[1, 1])))
    layers = by_layer(1.0, depth, bias=1.0)
    expected = layers.theta_gap[-1] / layers.theta[-1]
    return {
        "corrected": float(np.mean(gaps) / expected),
        "printed": float(np.mean(gaps) / 0.75),
        "error": float(np.std(gaps, ddof=1) / math.sqrt(seeds) / expected),
    }


def he_scaling(betas: Sequence[float], depth: int = 400_000) -> dict[float, float]:
    """2 v(depth) - v(depth/4) of the normalised kernel at variance 2 with bias: its
    limit, up to the next order of an error l^(-1/2)."""
    found = {}
    for beta in betas:
        values = by_layer(1.0, depth, variance=2.0, bias=beta).normalised
        found[beta] = float(2 * values[depth - 1] - values[depth // 4 - 1])
    return found


def general_variance(
    variances: Sequence[float], bias: float = 0.7, depth: int = 2000
) -> dict[str, float]:
    """Limits bias^2/(1 - s/2) and that over (1 - s/2), on and off the diagonal, and the
    factor s/2 by which the gap of the correlation contracts."""
    limits = contraction = 0.0
    for s in variances:
        layers = by_layer(1.3, depth, variance=s, bias=bias)
        q = bias**2 / (1 - s / 2)
        theta = q / (1 - s / 2)
        for got, right in (
            (layers.q[-1], q), (layers.q[-1] - layers.sigma_gap[-1], q),
            (layers.theta[-1], theta), (layers.theta[-1] - layers.theta_gap[-1], theta),
        ):  # fmt: skip
            limits = max(limits, abs(got / right - 1))
        short = by_layer(1.3, 80, variance=s, bias=bias)
        gap = short.sigma_gap / short.q
        contraction = max(contraction, abs(gap[-1] / gap[-2] / (s / 2) - 1))
    return {"limit_error": limits, "contraction_error": contraction}


def ordered_or_critical() -> dict[str, float]:
    """theta_l over its law without bias at l = 1000; and the ratio of consecutive angles
    times sqrt 2 with bias 0.1 at l = 60."""
    start = tensor(1.0)
    gap, _ = relu_ntk_any_depth(start, 1001)
    theta = 2 * math.asin(math.sqrt(float(gap) / 2))
    correction = 1 - (1.5 * math.log(1000) + float(abel_constant(start))) / 1000
    angle = by_layer(1.0, 61, bias=0.1).angle
    return {
        "critical": theta * 1000 / (3 * math.pi) / correction,
        "ordered": float(angle[60] / angle[59] * math.sqrt(2)),
    }


def bias_curves(betas: Sequence[float], depth: int) -> dict[float, np.ndarray]:
    """Normalised kernel of orthogonal inputs by layer, for every bias."""
    return {beta: by_layer(1.0, depth, bias=beta).normalised for beta in betas}


# ---------------------------------------------------------------------- other maps


def kappa_0(t: np.ndarray) -> np.ndarray:
    """1/2 + asin(t)/pi."""
    return 0.5 + np.arcsin(t) / math.pi


MAPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "kappa_1": lambda t: np.sqrt(np.maximum(0, 1 - t * t)) / math.pi + t * kappa_0(t),
    "kappa_0": kappa_0,
    "exponential": lambda t: np.exp(t - 1),
    "quadratic": lambda t: 0.3 + 0.7 * t * t,
}
"""Dot-product maps with non-negative coefficients and f(1) = 1."""


def iterated(name: str, count: int = 10_000) -> np.ndarray:
    """Where ``count`` iterates of a map end, from a grid of the open interval."""
    t = np.linspace(-0.999, 0.999, 81)
    for _ in range(count):
        t = np.minimum(MAPS[name](t), 1.0)
    return t


def definite_from_depth(seed: int = 0) -> tuple[float, float]:
    """Zero eigenvalues of Sigma_2 and the smallest of Sigma_3 on antipodal points."""
    some = data.sphere(5, 3, seed, radius=1.0)
    both = torch.cat([some, -some])
    second, third = (
        torch.linalg.eigvalsh(relu_ntk(both, depth=depth, normalised=True)[0])
        for depth in (2, 3)
    )
    return float((second.abs() < 1e-12).sum()), float(third[0])


def second_family(
    starts: Sequence[float], close: float, depth: int = 1_000_000
) -> dict[str, Any]:
    """Proposition 8 in both readings.

    kappa_0 to layer 40 from all starts; exp(t - 1) with 1 - t as the state, which keeps
    its digits near one, to ``depth``. There the ``close`` start has a head start of
    2/(1 - t) layers.
    """
    t = np.array([*starts, close])
    for _ in range(40):
        t = kappa_0(t)
    c = 0.5
    for _ in range(200):
        c = 0.5 + math.asin(c) / math.pi

    def deep(start: float) -> float:
        d = 1 - start
        for _ in range(depth):
            d = -math.expm1(-d)
        return d

    return {
        "fixed_point": c,
        "slope": 1 / (math.pi * math.sqrt(1 - c * c)),
        "off_at_40": float(np.abs(t - c).max()),
        "exponential_off": max(abs(depth * deep(start) / 2 - 1) for start in starts),
        "close_off": abs((depth + 2 / (1 - close)) * deep(close) / 2 - 1),
        "steep_from": math.sqrt(1 - 1 / math.pi**2),
    }


# ------------------------------------------------------------------------ embedding


def embedding(seed: int = 0) -> dict[str, float]:
    """Definition 6: unit length, scalar products, way back; largest errors."""
    x = data.gaussian(30, 4, seed)
    p = data.stereographic(x)
    square = 1 + x.square().sum(1)
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square()
    product = 1 - 2 * distance / torch.outer(square, square)
    back = data.inverse_stereographic(p)
    return {
        "length_off": float((p.norm(dim=1) - 1).abs().max()),
        "product_error": float((p @ p.T - product).abs().max()),
        "way_back": float((back - x).abs().max()),
    }


def antipodes_of_a_line() -> dict[str, float]:
    """Points +-1, +-2, +-1/2 of the line on the circle: opposite pairs, and smallest
    eigenvalues at depths 2 and 3."""
    x = torch.tensor([[1.0], [-1.0], [2.0], [-2.0], [0.5], [-0.5]], dtype=F64)
    p = data.stereographic(x)
    pairs = float(((p @ p.T + 1).abs() < 1e-14).sum()) / 2
    two, three = (_eigenvalues(p, depth) for depth in (2, 3))
    return {
        "pairs": pairs,
        "zeros_2": float((two.abs() < 1e-14).sum()),
        "smallest_3": float(three[0]),
    }


def _eigenvalues(p: Tensor, depth: int) -> Tensor:
    return torch.linalg.eigvalsh(relu_ntk(p, depth=depth, normalised=True)[1])
