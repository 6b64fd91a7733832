r"""Measurements on gradient flow and function dynamics of a shallow net (mdl2022, Sec. 3).

Random instances, in float64, of every identity from the risk to its dissipation.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import rng
from lazyrich.dynamics import gradient_flow
from lazyrich.kernels import ntk
from lazyrich.meanfield import MeanField, Neuron, gaussian_particles, particle_flow
from lazyrich.networks import FullyConnected, Shallow
from lazyrich.studies.tools.statistics import loglog_slope
from lazyrich.studies.two_limits.toys import F64, toy


def _instances(seed: int, count: int = 6) -> Iterator[tuple[MeanField, Tensor]]:
    """Nets of several sizes and scales on inputs of unequal probability."""
    for k in range(count):
        gen = rng.numpy_generator("gradient flow/instance", seed, k)
        d, n, h = (int(v) for v in gen.integers((2, 3, 2), (6, 12, 40)))
        alpha = float(10 ** gen.uniform(-1, 1.5))
        weights = torch.from_numpy(gen.dirichlet(np.ones(n)))
        x = torch.from_numpy(gen.standard_normal((n, d)))
        y = torch.from_numpy(gen.standard_normal(n))
        model = MeanField(Neuron(d), x, y, weights, alpha)
        yield model, gaussian_particles(h, d + 1, 1000 * seed + k)


def _relative(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max() / right.abs().max())


def risk_expansion(seed: int = 0) -> dict[str, float]:
    """R = E y^2 - 2 (alpha/N) sum V_i + (alpha/N)^2 sum U_ij against the direct form, and
    f of the measure against f of ``networks.Shallow``; relative differences."""
    mismatch, two_codes = 0.0, 0.0
    for model, theta in _instances(seed):
        features, _ = model.unit.pullback(model.x, theta)
        ratio = float(model.alpha) / len(theta)
        v = features @ (model.p * model.y)
        pairs = (features * model.p) @ features.T
        constant = model.p @ model.y**2
        expanded = constant - 2 * ratio * v.sum() + ratio**2 * pairs.sum()
        direct = model.risk(theta)
        mismatch = max(mismatch, abs(float(expanded / direct) - 1.0))
        net = Shallow(model.x.shape[1], len(theta), alpha=float(model.alpha))
        w = {"a": theta[:, 0], "W": theta[:, 1:]}
        two_codes = max(two_codes, _relative(net(w, model.x), model.f(theta)))
    return {"mismatch": mismatch, "two_codes": two_codes}


def flow_against_autograd(seed: int = 0) -> float:
    """Velocity of GFD against -N/(2 alpha^2) times the automatic derivative of R."""
    worst = 0.0
    for model, theta in _instances(seed):
        point = theta.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model.risk(point), point)
        velocity = -len(theta) / (2 * float(model.alpha) ** 2) * gradient
        worst = max(worst, _relative(model.velocity(theta), velocity))
    return worst


def risk_gradient_by_differences(seed: int = 0, step: float = 1e-5) -> float:
    """-(2 alpha/N) E[u grad sigma_*] against central differences of R, relative."""
    worst = 0.0
    for model, theta in _instances(seed):
        formula = -2 * float(model.alpha) ** 2 / len(theta) * model.velocity(theta)
        shifts = step * torch.eye(theta.numel(), dtype=F64).reshape(-1, *theta.shape)
        found = (model.risk(theta + shifts) - model.risk(theta - shifts)) / (2 * step)
        worst = max(worst, _relative(found.reshape(theta.shape), formula))
    return worst


def function_velocity(
    steps: tuple[float, ...] = (1e-3, 1e-4, 1e-5, 1e-6), seed: int = 0
) -> tuple[np.ndarray, float]:
    """One Euler step of GFD: (u(dt) - u(0)) / dt against -E'[K u].

    Returns:
        largest error by step over the instances, relative to the velocity, and the
        log-log slope in dt of the error.
    """
    errors = np.zeros(len(steps))
    for model, theta in _instances(seed):
        u = model.residual(theta)
        expected = -model.kernel(theta) @ (model.p * u)
        velocity = model.velocity(theta)
        for k, dt in enumerate(steps):
            found = (model.residual(theta + dt * velocity) - u) / dt
            errors[k] = max(errors[k], _relative(found, expected))
    return errors, loglog_slope(np.array(steps), errors)


def kernel_routes(seed: int = 0) -> dict[str, float]:
    """K by Jacobian, by its read-out and input parts, and from the layerwise kernel of
    ``networks.Shallow``, which is alpha^2 / N times as large."""
    mismatch, smallest = 0.0, math.inf
    for model, theta in _instances(seed):
        kernel = model.kernel(theta)
        h, x = len(theta), model.x
        z = torch.tanh(theta[:, 1:] @ x.T)
        slope = theta[:, :1] * (1 - z**2)
        parts = z.T @ z / h + (x @ x.T) * (slope.T @ slope) / h
        net = Shallow(x.shape[1], h, alpha=float(model.alpha))
        w = {"a": theta[:, 0], "W": theta[:, 1:]}
        layerwise = ntk(net, w, x) * h / float(model.alpha) ** 2
        mismatch = max(mismatch, _relative(parts, kernel), _relative(layerwise, kernel))
        s = torch.linalg.eigvalsh(kernel)
        smallest = min(smallest, float(s[0] / s[-1]))
    return {"mismatch": mismatch, "smallest_eigenvalue": smallest}


def dissipation(
    times: tuple[float, ...] = (0.5, 2.0, 6.0), h: int = 200, step: float = 1e-3
) -> dict[str, np.ndarray]:
    """dR/dt on a trajectory, three ways: differences in time, -2 int |grad Psi|^2 dmu,
    and -2 E[u K u]."""
    model = toy(alpha=1.3)
    around = np.array([t + s for t in times for s in (-step, 0.0, step)])
    flow = particle_flow(model, gaussian_particles(h, 4), around, rtol=1e-12)
    risk = (flow.residual**2 @ model.p).reshape(-1, 3)
    found = {"differences": (risk[:, 2] - risk[:, 0]) / (2 * step)}
    middle = flow.theta.unflatten(0, (-1, 3))[:, 1]
    speed = [model.velocity(theta).square().sum(-1).mean() for theta in middle]
    found["particles"] = -2 * float(model.alpha) ** 2 * torch.stack(speed)
    rates = []
    for theta in middle:
        pu = model.p * model.residual(theta)
        rates.append(-2 * pu @ model.kernel(theta) @ pu)
    found["kernel"] = torch.stack(rates)
    return {name: value.numpy() for name, value in found.items()}


def one_net_in_two_units(
    alpha_ntk: float = 0.5, h: int = 40, times: tuple[float, ...] = (0.5, 2.0, 8.0)
) -> dict[str, float]:
    """The same net in the units of geiger2020 and of mdl2022: largest differences of
    weights and outputs along the trajectory, relative to their size.

    Left, ``FullyConnected`` under -(1/alpha^2) grad of the mean of (y - F)^2 / 2. Right,
    particles under GFD with alpha_mf = sqrt(h) alpha, on inputs divided by sqrt(d) and
    with the same normalised activation.
    """
    model = toy()
    d, n = model.x.shape[1], len(model.x)
    net = FullyConnected(d, h, 1, "tanh", bias=False)
    w = net.init(0)
    left = gradient_flow(
        lambda p, z: alpha_ntk * net(p, z),
        w, model.x, model.y, times, rate=1.0 / (alpha_ntk**2 * n), rtol=1e-12,
    )  # fmt: skip
    sigma = net.sigma
    unit = Neuron(
        d,
        lambda u: sigma.outer * sigma.phi(u),
        lambda u, z: sigma.outer * sigma.phi_slope(u, z / sigma.outer),
    )
    alpha_mf = math.sqrt(h) * alpha_ntk
    twin = MeanField(unit, model.x / math.sqrt(d), model.y, alpha=alpha_mf)
    start = torch.cat((w["W1"].mT, w["W0"]), dim=1)
    right = particle_flow(twin, start, times, rtol=1e-12)
    weights = torch.cat((left.w["W1"].mT, left.w["W0"]), dim=-1)
    return {
        "weights": _relative(right.theta, weights),
        "outputs": _relative(model.y - right.residual, left.f),
    }
