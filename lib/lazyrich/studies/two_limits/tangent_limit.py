r"""Measurements on the tangent-kernel limit of shallow nets (mdl2022, Secs. 1 and 4.3)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import rng
from lazyrich.dynamics import gradient_flow
from lazyrich.kernels import kernel_predict, ntk
from lazyrich.meanfield import (
    MeanField,
    frozen_residual,
    gaussian_particles,
    particle_flow,
)
from lazyrich.networks import FullyConnected
from lazyrich.studies.two_limits.mean_field_limit import kernel_change
from lazyrich.studies.two_limits.toys import F64, toy

TIMES = np.linspace(0.0, 6.0, 49)
"""Times over which suprema are taken."""


# ------------------------------------------------------------------------ at the start


def prior_inputs() -> Tensor:
    """Three inputs in three dimensions of different length and angle."""
    return torch.tensor(
        [[1.0, 0.5, -0.3], [0.2, 1.4, 0.6], [-0.8, 0.1, 1.1]], dtype=F64
    )


def prior(
    phi: Callable[[Tensor], Tensor],
    widths: Sequence[int] = (8, 32, 128, 512),
    draws: int = 100_000,
) -> tuple[np.ndarray, np.ndarray]:
    """Random nets N^(-1/2) sum a_i phi(w_i . x) with standard normal weights.

    Returns:
        The sample covariance at ``prior_inputs`` over ``draws`` nets of 32 neurons,
        which no N enters; and the excess kurtosis at the first input, by width. Given
        the w_i the output is Gaussian of variance v = (1/N) sum phi^2, so that the
        kurtosis is 3 E v^2 / (E v)^2: averaged over a without noise, where the fourth
        moments of so many plain draws could not be told from zero at N = 512.
    """
    x = prior_inputs()
    covariance = torch.zeros(3, 3, dtype=F64)
    for k in range(20):
        gen = rng.generator("tangent limit/prior", k)
        a, w = _weights(gen, draws // 20, 32)
        f = (a.unsqueeze(1) @ phi(w @ x.T)).squeeze(1) / math.sqrt(32)
        covariance += f.T @ f / draws
    excess = []
    for h in widths:
        gen = rng.generator("tangent limit/kurtosis", h)
        _, w = _weights(gen, 20_000, h)
        v = phi(w @ x[0]).square().mean(-1)
        excess.append(float(3 * v.var() / v.mean() ** 2))
    return covariance.numpy(), np.array(excess)


def _weights(gen: torch.Generator, nets: int, h: int) -> tuple[Tensor, Tensor]:
    a = torch.randn(nets, h, generator=gen, dtype=F64)
    return a, torch.randn(nets, h, 3, generator=gen, dtype=F64)


# --------------------------------------------------------------- net and linearisation


@dataclass(frozen=True)
class Gaps:
    """How far nets are from their linearisations, by alpha.

    Attributes:
        alphas: (k,).
        residual: sup over time of the RMS distance of u from exp(-K_0 t) u_0 on the
            training inputs, relative to the RMS of u_0.
        outputs: the same for predictors on fresh inputs, not relative.
        risk: sup over time of the difference of the risks on fresh inputs.
        drift: |K_t - K_0| / |K_0| at the last time.
        input_expansion: RMS distance of the trained predictor from its expansion in the
            *input* around x = 0, on the fresh inputs.
    """

    alphas: np.ndarray
    residual: np.ndarray
    outputs: np.ndarray
    risk: np.ndarray
    drift: np.ndarray
    input_expansion: np.ndarray


def distance_to_linear(
    alphas: Sequence[float],
    h: int = 64,
    seed: int = 0,
    *,
    antithetic: bool = False,
    times: np.ndarray = TIMES,
) -> Gaps:
    """Train nets that differ in alpha alone, and compare with the frozen kernel.

    The predictor is F = f - f_0, zero at the start for every alpha, as targets that
    are shifted by f_0; without that u_0 would grow with alpha. ``antithetic`` particles
    have f_0 = 0 by themselves.
    """
    scale = torch.tensor(list(alphas), dtype=F64)
    plain = toy(alpha=scale)
    theta = gaussian_particles(h, 4, seed, antithetic=antithetic)
    start = theta.expand(len(alphas), -1, -1).contiguous()
    f0 = plain.f(start)
    model = MeanField(plain.unit, plain.x, plain.y + f0, alpha=scale)
    flow = particle_flow(model, start, times, rtol=1e-12)

    kernel = model.kernel(theta)
    frozen = frozen_residual(kernel, plain.y, times).unsqueeze(1)
    away = (flow.residual - frozen).square().mean(-1).sqrt().amax(0)

    fresh, targets = _fresh()
    cross = model.kernel(theta, x=fresh)
    linear = torch.stack(
        [kernel_predict(kernel, cross, plain.y, t=float(t)) for t in times]
    ).unsqueeze(1)
    net = torch.stack([model.f(p, x=fresh) for p in flow.theta]) - model.f(
        start, x=fresh
    )
    risks = [(out - targets).square().mean(-1) for out in (net, linear)]

    drift = (model.kernel(flow.theta[-1]) - kernel).norm(dim=(1, 2)) / kernel.norm()
    return Gaps(
        scale.numpy(),
        (away / plain.y.square().mean().sqrt()).numpy(),
        (net - linear).square().mean(-1).sqrt().amax(0).numpy(),
        (risks[0] - risks[1]).abs().amax(0).numpy(),
        drift.numpy(),
        _input_expansion(model, flow.theta[-1], start, fresh).numpy(),
    )


def _fresh(points: int = 200) -> tuple[Tensor, Tensor]:
    """Inputs of the toy that no net has seen, with their targets."""
    other = toy(n=points, seed=1)
    return other.x, other.y


def _input_expansion(
    model: MeanField, theta: Tensor, start: Tensor, x: Tensor
) -> Tensor:
    def predictor(z: Tensor) -> Tensor:
        return model.f(theta, x=z) - model.f(start, x=z)

    origin = torch.zeros(1, x.shape[1], dtype=x.dtype)
    slope = torch.func.jacrev(predictor)(origin)[:, 0, 0]
    tangent = predictor(origin) + slope @ x.T
    return (predictor(x) - tangent).square().mean(-1).sqrt()


def mean_gaps(
    alphas: Sequence[float], h: int, seeds: int, *, antithetic: bool = False
) -> Gaps:
    """``distance_to_linear``, geometric means over seeds."""
    runs = [
        distance_to_linear(alphas, h, s, antithetic=antithetic) for s in range(seeds)
    ]
    fields = ("residual", "outputs", "risk", "drift", "input_expansion")
    means = [
        np.exp(np.mean([np.log(getattr(run, name)) for run in runs], axis=0))
        for name in fields
    ]
    return Gaps(runs[0].alphas, *means)


def linear_weights_against(solution: Callable[..., np.ndarray], h: int = 40) -> float:
    """Gradient flow of the weights of the linearised net against ``solution(kernel, u_0,
    times)``, the largest difference of residuals."""
    alpha = 3.0
    model = toy(alpha=alpha)
    theta = gaussian_particles(h, 4)
    n, times = len(model.x), (0.3, 1.0, 3.0, 10.0)
    slope = model.unit.jacobian(model.x, theta).transpose(0, 1).flatten(start_dim=1)
    slope = alpha / h * slope
    f0 = model.f(theta)
    flow = gradient_flow(
        lambda w, _x: f0 + slope @ (w["theta"] - theta).reshape(-1),
        {"theta": theta}, model.x, model.y, times,
        rate=h / (alpha**2 * n), rtol=1e-12,
    )  # fmt: skip
    u0 = (model.y - f0).numpy()
    expected = solution(model.kernel(theta).numpy(), u0, np.array(times))
    return float(np.abs((model.y - flow.f).numpy() - expected).max())


def modes(alpha: float, h: int, times: np.ndarray = TIMES, count: int = 4) -> dict:
    """The residual of one net in the eigenmodes of its initial kernel, over time.

    Returns:
        ``rates`` (count,) of the largest modes, ``net`` and ``frozen`` (times, count),
        absolute values relative to the start.
    """
    model = toy(alpha=alpha)
    theta = gaussian_particles(h, 4, antithetic=True)
    flow = particle_flow(model, theta, times, rtol=1e-10)
    rates, vectors = torch.linalg.eigh(model.kernel(theta) / len(model.x))
    part = flow.residual @ vectors.flip(-1)[:, :count]
    rates = rates.flip(0)[:count]
    return {
        "rates": rates.numpy(),
        "net": (part / part[0]).abs().numpy(),
        "frozen": np.exp(-np.outer(times, rates.numpy())),
    }


# -------------------------------------------------------------------------- in the width


def drift_in_width(
    widths: Sequence[int] = (64, 256, 1024, 4096),
    seeds: int = 6,
    *,
    exponent: float = 0.5,
) -> np.ndarray:
    """Kernel change with alpha = N^exponent, shape (widths, seeds); antithetic starts."""
    return np.array(
        [
            [kernel_change([h**exponent], h, seed=s)[0] for s in range(seeds)]
            for h in widths
        ]
    )


def crossover(
    alphas: Sequence[float], widths: Sequence[int], time: float = 6.0
) -> np.ndarray:
    """Kernel change over (widths, alphas): the surface on which both limits lie."""
    return np.stack([kernel_change(alphas, h, time) for h in widths])


# ------------------------------------------------------------------------------- digits


def distance_to_linear_digits(
    x: Tensor,
    y: Tensor,
    h: int,
    alpha: float,
    seeds: Sequence[int] = (0, 1, 2),
    times: np.ndarray = TIMES,
) -> np.ndarray:
    """sup over time of the RMS distance of F = alpha (f - f_0) from its linearisation, for
    ``FullyConnected`` with one hidden layer in the NTK scaling; one value a seed.

    Args:
        x, y: training set (n, d) and targets (n,).
        h, alpha: width and scale.
    """
    n, found = len(x), []
    net = FullyConnected(x.shape[1], h, 1)
    for seed in seeds:
        w = net.init(seed)
        f0 = net(w, x)

        def predictor(p: Mapping[str, Tensor], z: Tensor, f0: Tensor = f0) -> Tensor:
            return alpha * (net(p, z) - f0)

        flow = gradient_flow(
            predictor, w, x, y, times, rate=1.0 / (alpha**2 * n), rtol=1e-10
        )
        linear = y - frozen_residual(ntk(net, w, x), y, times)
        found.append(float((flow.f - linear).square().mean(-1).sqrt().max()))
    return np.array(found)


# ----------------------------------------------------------------------------- explorer


@dataclass(frozen=True)
class Portrait:
    """What the slider over alpha shows of one net."""

    alpha: float
    before: np.ndarray
    after: np.ndarray
    risk: np.ndarray
    frozen_risk: np.ndarray
    kernel_before: np.ndarray
    kernel_after: np.ndarray
    change: float


def portraits(
    alphas: Sequence[float], h: int = 400, times: np.ndarray = TIMES
) -> list[Portrait]:
    """The same weights trained on the same target at several alphas; inputs in order of
    their targets."""
    scale = torch.tensor(list(alphas), dtype=F64)
    model = toy(alpha=scale)
    theta = gaussian_particles(h, 4, antithetic=True)
    start = theta.expand(len(alphas), -1, -1).contiguous()
    flow = particle_flow(model, start, times, rtol=1e-8)
    order = torch.argsort(model.y)
    before = model.kernel(theta)
    frozen = frozen_residual(before, model.y, times).square().mean(-1).numpy()
    risk = flow.residual.square().mean(-1).numpy()
    found = []
    for k, alpha in enumerate(alphas):
        after = model.kernel(flow.theta[-1, k])
        found.append(
            Portrait(
                float(alpha),
                theta.numpy(),
                flow.theta[-1, k].numpy(),
                risk[:, k],
                frozen,
                before[order][:, order].numpy(),
                after[order][:, order].numpy(),
                float((after - before).norm() / before.norm()),
            )
        )
    return found
