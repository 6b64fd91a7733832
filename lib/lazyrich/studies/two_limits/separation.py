r"""Networks against their linearisations: random features, tangent features, one neuron.

mdl2022, Sec. 5. Errors of the linear models are population errors, computed without a
sample by ``lazyrich.kernels.zonal``.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp

from lazyrich import data
from lazyrich.core import rng
from lazyrich.kernels import (
    SphereMoments,
    Zonal,
    feature_kernels,
    kernel_predict,
    ntk,
    random_features,
    sphere_moments,
    tangent_features,
)
from lazyrich.kernels.zonal import coordinate_rule, gegenbauer, harmonics
from lazyrich.studies.tools.statistics import loglog_slope

SHIFT = 0.5
"""Of the ReLU max(u - shift, 0) in the staircases, so that no degree is missing."""

SIZES = {
    "laptop": {"rf_d": 20, "nt_d": 20, "gap_d": (20, 50, 100), "gap_nt_d": (10, 20)},
    "paper": {
        "rf_d": 50,
        "nt_d": 50,
        "gap_d": (50, 100, 200),
        "gap_nt_d": (20, 30, 50),
    },
}
"""Dimensions by scale; N goes up to d^2.5 for random and d^1.5 for tangent features."""


def unit_neurons(n: int, d: int, seed: int) -> np.ndarray:
    """Unit weights (n, d), uniform on the sphere; equal seeds are nested."""
    return data.sphere(n, d, seed, radius=1.0).numpy()


def two_layers(
    w: Mapping[str, Tensor], x: Tensor, phi: Callable[[Tensor], Tensor]
) -> Tensor:
    """sum_i a_i phi(<w_i, x>), without a factor of the width: (n,)."""
    return phi(x @ w["w"].mT) @ w["a"]


def _weights(n: int, d: int, seed: int, name: str = "start") -> dict[str, Tensor]:
    draw = rng.numpy_generator(f"separation/{name}", seed)
    return {
        "a": torch.from_numpy(draw.standard_normal(n)),
        "w": torch.from_numpy(draw.standard_normal((n, d)) / math.sqrt(d)),
    }


def taylor_split(seed: int = 0, d: int = 12, n_neurons: int = 30) -> dict[str, float]:
    """The first-order change of a net as random-feature part plus tangent part.

    Returns:
        ``against_jvp``: relative distance of the sum from forward differentiation;
        ``slope`` of the remainder in the size of the step, for tanh; ``kink_slope``,
        the same for single ReLU neurons, root mean square over inputs.
    """
    x = data.sphere(2000, d, seed)
    start, step = _weights(n_neurons, d, seed), _weights(n_neurons, d, seed, "step")
    root = math.sqrt(n_neurons)

    def parts(
        slope: Callable[[Tensor], Tensor], phi: Callable[[Tensor], Tensor]
    ) -> Tensor:
        readout = random_features(x, start["w"], phi) @ step["a"]
        moved = (start["a"][:, None] * step["w"]).flatten()
        return root * (readout + tangent_features(x, start["w"], slope) @ moved)

    def tanh_slope(u: Tensor) -> Tensor:
        return 1 - torch.tanh(u).square()

    linear = parts(tanh_slope, torch.tanh)
    exact = jvp(lambda w: two_layers(w, x, torch.tanh), (start,), (step,))[1]
    sizes = np.geomspace(1e-3, 1e-1, 7)

    def remainder(size: float, phi: Callable[[Tensor], Tensor], first: Tensor) -> float:
        moved = {k: start[k] + size * step[k] for k in start}
        change = two_layers(moved, x, phi) - two_layers(start, x, phi)
        return float((change - size * first).square().mean().sqrt())

    # One neuron whose weights alone move: no term of second order, kinks only.
    many = data.sphere(400_000, d, seed + 1)
    u, v = many @ start["w"][0], many @ step["w"][0]

    def kinks(size: float) -> float:
        change = torch.relu(u + size * v) - torch.relu(u)
        return float((change - size * v * (u > 0)).square().mean().sqrt())

    smooth = [remainder(size, torch.tanh, linear) for size in sizes]
    return {
        "against_jvp": float((linear - exact).norm() / exact.norm()),
        "slope": loglog_slope(sizes, np.array(smooth)),
        "kink_slope": loglog_slope(sizes, np.array([kinks(size) for size in sizes])),
    }


def feature_ranks(
    d: int = 6, n_neurons: int = 5, seed: int = 0
) -> dict[str, float | bool]:
    """Ranks of the feature matrices, with enough inputs and with too few.

    Returns:
        ``full``: ranks N and N d; ``few``: both ranks are the number of inputs when
        that is smaller; ``tanh_dimension`` and ``relu_dimension``: dimension of the
        whole tangent space over N, d + 1 unless the activation is homogeneous; and
        ``gram``: relative distance of the tangent kernel of the net from the Gram
        matrices of both classes, the tangent features multiplied by the readout.
    """
    w = _weights(n_neurons, d, seed)
    x = data.gaussian(4 * n_neurons * (d + 1), d, seed)

    def rank(features: Tensor) -> int:
        return int(torch.linalg.matrix_rank(features, rtol=1e-10))

    rf, nt = random_features(x, w["w"]), tangent_features(x, w["w"])

    def tanh_slope(u: Tensor) -> Tensor:
        return 1 - torch.tanh(u).square()

    tanh = torch.cat(
        (
            random_features(x, w["w"], torch.tanh),
            tangent_features(x, w["w"], tanh_slope),
        ),
        1,
    )
    scaled = nt * w["a"].repeat_interleave(d)
    gram = n_neurons * (rf @ rf.mT + scaled @ scaled.mT)
    theta = ntk(lambda p, z: two_layers(p, z, torch.relu), w, x)
    few = n_neurons - 2
    return {
        "full": rank(rf) == n_neurons and rank(nt) == n_neurons * d,
        "few": rank(rf[:few]) == few and rank(nt[: 2 * n_neurons]) == 2 * n_neurons,
        "tanh_dimension": rank(tanh) / n_neurons - d,
        "relu_dimension": rank(torch.cat((rf, nt), 1)) / n_neurons - d,
        "gram": float((gram - theta).norm() / theta.norm()),
    }


def kernel_convergence(
    widths: Sequence[int], n_seeds: int = 12, d: int = 10, n: int = 40, seed: int = 0
) -> dict[str, np.ndarray]:
    """Gram matrices of N random neurons against their limit, and what ridge regression
    with them predicts against regression with the limit.

    Returns:
        ``rf``, ``nt``: relative Frobenius errors of the kernels, (widths, seeds);
        ``rf_prediction``, ``nt_prediction``: root mean squared differences of the
        predictions on test points, over their size.
    """
    x, x_test = data.sphere(n, d, seed), data.sphere(200, d, -seed - 1)
    y = torch.tanh(x[:, 0]) + 0.5 * x[:, 1] * x[:, 2]
    both = torch.cat((x, x_test))
    found: dict[str, np.ndarray] = {}
    limits = feature_kernels(both, x)
    for name, limit in zip(("rf", "nt"), limits, strict=True):
        features = random_features if name == "rf" else tangent_features
        ridge = 0.1 * float(limit[:n].diagonal().mean())
        wanted = kernel_predict(_symmetric(limit[:n]), limit[n:], y, ridge=ridge)
        errors = np.empty((len(widths), n_seeds))
        shifts = np.empty_like(errors)
        for i, width in enumerate(widths):
            for k in range(n_seeds):
                w = data.gaussian(width, d, 1000 * seed + k)
                phi = features(both, w)
                gram = phi @ phi[:n].mT
                errors[i, k] = float((gram[:n] - limit[:n]).norm() / limit[:n].norm())
                got = kernel_predict(_symmetric(gram[:n]), gram[n:], y, ridge=ridge)
                shifts[i, k] = float((got - wanted).norm() / wanted.norm())
        found[name], found[f"{name}_prediction"] = errors, shifts
    return found


def _symmetric(kernel: Tensor) -> Tensor:
    return 0.5 * (kernel + kernel.mT)


def monte_carlo_kernels(x: Tensor, draws: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Both kernels at x (n, d) as averages over ``draws`` Gaussian weights."""
    w = data.gaussian(draws, x.shape[1], seed)
    rf = random_features(x, w)
    gates = random_features(x, w, lambda u: (u > 0).to(u))
    return rf @ rf.mT, (x @ x.mT) * (gates @ gates.mT)


def sphere_sample(n: int, d: int, degrees: int, seed: int = 0) -> dict[str, float]:
    """The sampler and the polynomials: norms, covariance, orthogonality.

    Returns:
        ``norm``: largest relative error of |x|^2 = d; ``covariance``: largest entry of
        the sample covariance less the identity; ``orthogonality``: of the Gegenbauer
        polynomials, largest error of the Gram matrix sqrt(N_k N_l) E P_k P_l.
    """
    x = data.sphere(n, d, seed)
    t, weights = coordinate_rule(d)
    basis = np.sqrt(harmonics(d, degrees))[:, None] * gegenbauer(t, d, degrees)
    gram = basis @ (weights[:, None] * basis.T)
    return {
        "norm": float((x.square().sum(1) / d - 1).abs().max()),
        "covariance": float((x.mT @ x / n - torch.eye(d)).abs().max()),
        "orthogonality": float(np.abs(gram - np.eye(degrees + 1)).max()),
    }


def monomials(x: Tensor, degrees: int) -> Tensor:
    """x_1, x_1 x_2, ... up to ``degrees`` factors, of unit mean square on the sphere of
    radius sqrt(d): shape (n, degrees). Harmonics, because no coordinate is squared."""
    d = x.shape[1]
    # E x_1^2 ... x_k^2 = d^k / (d (d + 2) ... (d + 2k - 2)).
    mean = np.cumprod([d / (d + 2 * k) for k in range(degrees)])
    return x[:, :degrees].cumprod(1) / torch.from_numpy(np.sqrt(mean))


def against_samples(
    n_neurons: int, neuron: Zonal, n: int, degrees: int, shift: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Test errors of least squares on n examples beside the errors at n = infinity, for
    x_1, x_1 x_2, ... and random features max(u - shift, 0).

    On n examples the error is larger by about n / (n - number of features). Both are
    shares of the mean square of the target, (degrees,).
    """
    d = neuron.d
    w = unit_neurons(n_neurons, d, seed)
    weights = torch.from_numpy(w)

    def phi(u: Tensor) -> Tensor:
        return torch.relu(u - shift)

    x, x_test = data.sphere(n, d, seed), data.sphere(50_000, d, -seed - 1)
    features = random_features(x, weights, phi)
    readout = torch.linalg.lstsq(features, monomials(x, degrees)).solution
    target = monomials(x_test, degrees)
    wrong = random_features(x_test, weights, phi) @ readout - target
    sampled = (wrong.square().mean(0) / target.square().mean(0)).numpy()
    fit = sphere_moments("rf", w, neuron)
    values = monomials(math.sqrt(d) * weights, degrees).numpy()
    exact = [fit.harmonic_error(k + 1, values[:, k]) for k in range(degrees)]
    return sampled, np.array(exact)


def staircase(
    kind: str,
    neuron: Zonal,
    widths: Sequence[int],
    degrees: int = 4,
    seeds: Sequence[int] = (0,),
) -> np.ndarray:
    """Mean error of harmonics of degree 0 ... degrees at n = infinity, for each width.

    Returns:
        shape (widths, seeds, degrees + 1).
    """
    return np.array(
        [
            [feature_moments(kind, n, neuron, k).degree_errors(degrees) for k in seeds]
            for n in widths
        ]
    )


def feature_moments(kind: str, n: int, neuron: Zonal, seed: int = 0) -> SphereMoments:
    """Second moments of n random neurons on the sphere, see ``kernels.zonal``."""
    return sphere_moments(kind, unit_neurons(n, neuron.d, seed), neuron)


def power(d: int, exponent: float) -> int:
    """The width nearest to d^exponent."""
    return round(d**exponent)


def kernel_gap(
    kind: str, neuron: Zonal, exponent: float, seeds: Sequence[int]
) -> np.ndarray:
    """Error of the linear model with d^exponent neurons on a single neuron of the same
    kind, at n = infinity, as a share of its mean square and averaged over its direction.
    """
    n = power(neuron.d, exponent)
    return np.array(
        [feature_moments(kind, n, neuron, k).neuron_error(neuron, 12) for k in seeds]
    )


def learn_neuron(
    activation: str,
    d: int = 20,
    n: int = 2000,
    starts: int = 20,
    steps: int = 600,
    rate: float = 1.0,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """One neuron learns one neuron, by gradient descent from random weights N(0, I/d).

    Args:
        activation: ``"relu"`` or ``"sigmoid"``.
        d, n: dimension and number of inputs, uniform on the sphere of radius sqrt(d).
        starts: independent starts, all at once.
        steps, rate: of gradient descent on the mean of (f - y)^2 / (2 E phi'^2).

    Returns:
        ``error``: mean squared errors on new inputs over the mean square of the target,
        (records, starts); ``overlap``: cosines with the target's weights, the same
        shape; ``step``: when they were recorded.
    """
    phi = {"relu": torch.relu, "sigmoid": torch.sigmoid}[activation]
    target = data.linear_teacher(d, seed)
    x, fresh = data.sphere(n, d, seed), data.sphere(4000, d, -seed - 1)
    y, wanted = phi(x @ target), phi(fresh @ target)
    w = data.gaussian(starts, d, seed + 7) / math.sqrt(d)
    # Without this factor a sigmoid, whose slope is at most 1/4, learns 16 times slower.
    scale = rate / (0.5 if activation == "relu" else 0.045)
    kept = np.unique(np.round(np.geomspace(1, steps, 40)).astype(int))
    errors, overlaps = [], []
    for step in range(1, steps + 1):
        u = x @ w.mT
        value = phi(u)
        slope = (u > 0).to(u) if activation == "relu" else value * (1 - value)
        w = w - scale / n * ((value - y[:, None]) * slope).mT @ x
        if step in kept:
            wrong = phi(fresh @ w.mT) - wanted[:, None]
            errors.append((wrong.square().mean(0) / wanted.square().mean()).numpy())
            overlaps.append((w @ target / w.norm(dim=1)).numpy())
    return {"error": np.array(errors), "overlap": np.array(overlaps), "step": kept}
