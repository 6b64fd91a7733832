r"""The growth phase t < sqrt(h) alpha: who moves first, how fast, and how far.

geiger2020, Sec. 6 and Apps. D to F: orders of gradients and velocities at the start
(Eqs. 11-12), growth of the output by sqrt(h) up to that time (Eq. 30), and the kernel that
stays put until then (Eq. 13). The paper calls the time t1, the name that this project
keeps for the half-loss time. Every function returns arrays over widths and seeds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lazyrich.core import rng
from lazyrich.dynamics import StepRule, hinge_path, momentum_flow
from lazyrich.kernels import kernel_change, kernel_distance, ntk
from lazyrich.losses import loss as named_loss
from lazyrich.networks import FullyConnected

Params = Mapping[str, Tensor]


def group_of(name: str, L: int) -> str:
    """The group of a parameter: ``input``, ``hidden`` and ``read-out`` weights, hidden
    ``bias``, or ``output bias``."""
    layer = int(name[1:])
    if name.startswith("B"):
        return "output bias" if layer == L else "bias"
    return {0: "input", L: "read-out"}.get(layer, "hidden")


def gradient_sizes(
    x: Tensor, widths: Sequence[int], seeds: int, L: int = 5
) -> dict[str, np.ndarray]:
    """Root mean square of a component of df/dw at the start (Eq. 11), by group.

    Args:
        x: inputs (n, d).
        widths: values of h.
        seeds: number of nets a width.

    Returns:
        for every group an array (widths, seeds).
    """
    found: dict[str, list] = {}
    for h in widths:
        net = FullyConnected(x.shape[1], h, L)
        w = net.init(0, members=seeds)
        # df/dW_ij of one example is D_i z_j: its mean square is a product of two means
        squares: dict[str, list] = {}
        for layer, factor in enumerate(net.tangent_factors(w, x)):
            z = factor.scale * factor.z.square().mean(-1)
            one = torch.ones(1, dtype=z.dtype)
            d = one if factor.d is None else factor.d.square().mean(-1)
            for name, square in ((f"W{layer}", d * z), (f"B{layer}", d + 0 * z)):
                mean = square.expand(seeds, len(x)).mean(-1)
                squares.setdefault(group_of(name, L), []).append(mean)
        for group, layers in squares.items():
            rms = torch.stack(layers).mean(0).sqrt().tolist()
            found.setdefault(group, []).append(rms)
    return {group: np.array(rows) for group, rows in found.items()}


@dataclass(frozen=True)
class Velocities:
    """Root mean squares of velocities at t = 0.

    Attributes:
        weights: by group, (widths, seeds).
        preactivations: d z~/dt of every hidden layer, (widths, seeds, L).
        mismatch: largest relative difference between the exact velocity of the
            pre-activations and a finite difference along the same direction.
    """

    weights: dict[str, np.ndarray]
    preactivations: np.ndarray
    mismatch: float


def start_velocities(
    x: Tensor,
    y: Tensor,
    widths: Sequence[int],
    seeds: int,
    alpha: float,
    L: int = 5,
    difference: float = 1e-6,
) -> Velocities:
    """Velocities -grad L at t = 0 (Eq. 12, Fig. 8), from the loss of Eq. 5 itself.

    Args:
        x, y: training set.
        widths: values of h.
        seeds: number of nets a width.
        alpha: laziness scale.
        difference: relative size of the displacement of the finite difference.
    """
    hinge = named_loss("hinge")
    weights: dict[str, list] = {}
    layers = np.empty((len(widths), seeds, L))
    mismatch = 0.0
    for row, h in enumerate(widths):
        net = FullyConnected(x.shape[1], h, L)
        w = net.init(0, members=seeds)
        f0 = net(w, x)

        def total_loss(p: Params, net: FullyConnected = net, f0: Tensor = f0) -> Tensor:
            F = alpha * (net(p, x) - f0)
            return hinge.value(F, y).sum() / (alpha**2 * len(y))

        gradient = torch.func.grad(total_loss)(w)
        velocity = {k: -g for k, g in gradient.items()}
        squares: dict[str, list] = {}
        for name, value in velocity.items():
            mean = value.flatten(1).square().mean(1)
            squares.setdefault(group_of(name, L), []).append(mean)
        for group, means in squares.items():
            rms = torch.stack(means).mean(0).sqrt().tolist()
            weights.setdefault(group, []).append(rms)
        _, moving, *_ = torch.func.jvp(
            lambda p, net=net: tuple(net.preactivations(p, x)), (w,), (velocity,)
        )
        z = net.preactivations(w, x)
        speed = max(float(v.abs().max()) for v in velocity.values())
        dt = difference / speed
        moved = net.preactivations({k: w[k] + dt * velocity[k] for k in w}, x)
        for layer in range(L):
            exact = moving[layer]
            layers[row, :, layer] = exact.square().mean((1, 2)).sqrt().numpy()
            away = (moved[layer] - z[layer]) / dt - exact
            mismatch = max(mismatch, float(away.norm() / exact.norm()))
    return Velocities({k: np.array(v) for k, v in weights.items()}, layers, mismatch)


@dataclass(frozen=True)
class EarlyRuns:
    """Curves of the growth phase on one clock; arrays (widths or alphas, seeds, times).

    Attributes:
        labels: widths, or values of sqrt(h) alpha.
        s: (times,) t / (sqrt(h) alpha).
        output: rms of f - f0 over test points.
        output_whole: rms of f itself, which starts at O(1).
        read_out: rms change of a read-out weight.
        preactivation: rms change of a pre-activation of the last hidden layer.
        size: rms pre-activation of all hidden layers.
        distance: |w - w0|.
        kernel: relative change of the kernel between test points.
        half_loss: (labels, seeds) half-loss time over sqrt(h) alpha; NaN beyond the run.
    """

    labels: tuple[float, ...]
    s: np.ndarray
    output: np.ndarray
    output_whole: np.ndarray
    read_out: np.ndarray
    preactivation: np.ndarray
    size: np.ndarray
    distance: np.ndarray
    kernel: np.ndarray
    half_loss: np.ndarray


CLOCK = np.logspace(-2.0, 0.0, 21)
"""Values of t / (sqrt(h) alpha) on which curves of different runs are compared."""


def rms(values: Tensor) -> Tensor:
    """||f|| = <f(x)^2>^(1/2), the root mean square over everything (Eq. 29)."""
    return values.square().mean().sqrt()


def _probes(x_test: Tensor) -> dict[str, Any]:
    def outputs(net: Any, w0: Params) -> Any:
        f0 = net(w0, x_test)
        return lambda w: rms(net(w, x_test) - f0)

    def whole(net: Any, w0: Params) -> Any:
        return lambda w: rms(net(w, x_test))

    def read_out(net: Any, w0: Params) -> Any:
        name = f"W{net.L}"
        start = w0[name].clone()
        return lambda w: rms(w[name] - start)

    def preactivation(net: Any, w0: Params) -> Any:
        start = net.preactivations(w0, x_test)[-1]
        return lambda w: rms(net.preactivations(w, x_test)[-1] - start)

    def size(net: Any, w0: Params) -> Any:
        return lambda w: rms(torch.stack(net.preactivations(w, x_test)))

    def distance(net: Any, w0: Params) -> Any:
        start = {k: v.clone() for k, v in w0.items()}
        return lambda w: torch.stack([(w[k] - start[k]).norm() for k in start]).norm()

    return {
        "output": outputs,
        "output_whole": whole,
        "read_out": read_out,
        "preactivation": preactivation,
        "size": size,
        "distance": distance,
        "kernel": kernel_change(x_test),
    }


def early_runs(
    x: Tensor,
    y: Tensor,
    x_test: Tensor,
    *,
    widths: Sequence[int],
    alpha_mf: Sequence[float],
    seeds: int,
    L: int = 2,
) -> EarlyRuns:
    """Train up to t = sqrt(h) alpha and a little beyond, and watch what has moved.

    Args:
        x, y: training set.
        x_test: points on which outputs, pre-activations and kernels are measured.
        widths, alpha_mf: values of h and of sqrt(h) alpha; one of the two has one value.
        seeds: number of nets each.

    Raises:
        ValueError: several widths and several values of sqrt(h) alpha.
    """
    if len(widths) > 1 and len(alpha_mf) > 1:
        raise ValueError(
            "widths and alpha_mf must not both have several values, got "
            f"{len(widths)} and {len(alpha_mf)}"
        )
    cases = [(h, a) for h in widths for a in alpha_mf]
    curves: dict[str, list] = {}
    half = []
    for h, a in cases:
        net = FullyConnected(x.shape[1], h, L)
        flow = momentum_flow(
            net, net.init(0, members=seeds), x, y, a / math.sqrt(h),
            max_time=1.05 * a, records_per_decade=16, observe=_probes(x_test),
            rule=StepRule(max_weight_change=1e-3),
        )  # fmt: skip
        half.append((flow.t1 / a).tolist())
        for name, curve in flow.observed.items():
            rows = [
                _on_clock(t / a, row)
                for t, row in zip(flow.t.numpy(), curve.numpy(), strict=True)
            ]
            curves.setdefault(name, []).append(rows)
    labels = tuple(float(v) for v in (widths if len(widths) > 1 else alpha_mf))
    arrays = {name: np.array(rows) for name, rows in curves.items()}
    return EarlyRuns(labels, CLOCK, half_loss=np.array(half), **arrays)


def _on_clock(s: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """A recorded curve at the times of ``CLOCK``, by interpolation of logarithms."""
    seen = np.isfinite(s) & (s > 0) & (curve > 0)
    logs = np.interp(np.log(CLOCK), np.log(s[seen]), np.log(curve[seen]))
    return np.exp(logs)


def slopes_in_time(
    runs: EarlyRuns, curve: np.ndarray, low: float, high: float
) -> np.ndarray:
    """Log-log slope of a curve in t between ``low`` and ``high`` times sqrt(h) alpha, of
    every run: (labels, seeds)."""
    inside = (runs.s >= low * 0.999) & (runs.s <= high * 1.001)
    logs = np.log(curve[..., inside])
    x = np.log(runs.s[inside])
    x = x - x.mean()
    return (logs * x).sum(-1) / (x * x).sum()


def spread_over_labels(curve: np.ndarray) -> np.ndarray:
    """(times,) largest over smallest seed-averaged value of the runs, minus one."""
    mean = curve.mean(1)
    return mean.max(0) / mean.min(0) - 1.0


def gaussian_process(
    x: Tensor, widths: Sequence[int], draws: int, L: int, chunk: int = 500
) -> tuple[np.ndarray, np.ndarray]:
    """The output at the start over many draws of the weights, biases zero.

    Given the last hidden layer, f is exactly Gaussian with covariance q = z z'/h, because
    the read-out weights are. So the covariance of f is the mean of q, and its excess
    kurtosis 3 Var(q) / (mean q)^2: averages with far less noise than those of f itself.

    Args:
        x: a few inputs (n, d).
        widths: values of h.
        draws: nets a width.
        L: number of hidden layers.

    Returns:
        covariances (widths, n, n), and excess kurtosis (draws / chunk, widths), a mean
        over inputs, of every chunk by itself: for its error.
    """
    covariance, kurtosis = [], []
    for h in widths:
        net = FullyConnected(x.shape[1], h, L, bias=False)
        gen = rng.generator("gaussian process", h, L)
        parts = []
        for first in range(0, draws, chunk):
            count = min(chunk, draws - first)
            w = {
                name: torch.randn((count, *shape), generator=gen, dtype=x.dtype)
                for name, shape in net.shapes.items()
            }
            z = net.sigma(net.preactivations(w, x)[-1])
            parts.append(z @ z.mT / h)
        mean = torch.cat(parts).mean(0)
        covariance.append(mean.numpy())
        kurtosis.append(
            [
                3.0
                * float(
                    (q.diagonal(dim1=1, dim2=2).var(0) / mean.diagonal() ** 2).mean()
                )
                for q in parts
            ]
        )
    return np.array(covariance), np.array(kurtosis).T


def lazy_border(
    x: Tensor,
    y: Tensor,
    x_kernel: Tensor,
    widths: Sequence[int],
    seeds: int,
    L: int,
    stop_loss: float,
    alpha_mf: Sequence[float],
) -> xr.DataArray:
    """Sec. 6: how far the weights have to move under a frozen kernel, and what that does
    to the kernel; no training.

    The frozen kernel fits with coefficients c that know neither h nor alpha in the limit;
    on the way the weights move by J^T c / alpha. A net is lazy if that leaves its kernel
    as it was.

    Args:
        x, y: training set.
        x_kernel: points between which the change of the kernel is taken.
        widths: values of h.
        seeds: number of nets a width.
        L: number of hidden layers.
        stop_loss: where the frozen kernel stops, as a share of the initial loss.
        alpha_mf: values of sqrt(h) alpha.

    Returns:
        relative change of the kernel, over ``h``, ``seed`` and ``alpha_mf``.
    """
    change = np.empty((len(widths), seeds, len(alpha_mf)))
    for row, h in enumerate(widths):
        net = FullyConnected(x.shape[1], h, L)
        for seed in range(seeds):
            w = net.init(seed)
            frozen = hinge_path(ntk(net, w, x), y, stop_loss=stop_loss)
            move = net.pullback(w, x)[1](frozen.w["c"][0])
            theta = ntk(net, w, x_kernel)
            for k, value in enumerate(alpha_mf):
                size = math.sqrt(h) / value
                moved = {name: w[name] + size * move[name] for name in w}
                change[row, seed, k] = kernel_distance(ntk(net, moved, x_kernel), theta)
    return xr.DataArray(
        change,
        dims=("h", "seed", "alpha_mf"),
        name="kernel_change",
        coords={
            "h": list(widths), "seed": range(seeds), "alpha_mf": list(alpha_mf)
        },
    )  # fmt: skip


def start_rates(
    x: Tensor, y: Tensor, x_test: Tensor, widths: Sequence[int], seeds: int, L: int = 2
) -> np.ndarray:
    """alpha ||df/dt|| at t = 0 by the chain rule, || <Theta(x, x_mu) y_mu>_mu ||:
    (widths, seeds), with nothing integrated. The seeds are those of ``early_runs``."""
    found = []
    for h in widths:
        net = FullyConnected(x.shape[1], h, L)
        w = net.init(0, members=seeds)
        force = y / len(y)
        found.append([float(rms(k @ force)) for k in ntk(net, w, x_test, x)])
    return np.array(found)
