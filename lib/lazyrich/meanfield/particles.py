r"""Flows of particles: GFD, its mean-field limit, and the coupled dynamics of DD and RD."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from lazyrich.core import check, rng
from lazyrich.core.runge_kutta import accuracy, increasing_times, integrate
from lazyrich.core.spectrum import modes
from lazyrich.meanfield.model import MeanField

_MOST_QUASI = torch.quasirandom.SobolEngine.MAXDIM
"""Parameters of a particle for which there are Sobol points."""

Times = Sequence[float] | np.ndarray | Tensor


@dataclass(frozen=True)
class ParticleFlow:
    """A trajectory of particles.

    Attributes:
        t: (m,) times.
        theta: (m, ..., h, D) particles.
        residual: (m, ..., n) u = y - f along the way.
    """

    t: Tensor
    theta: Tensor
    residual: Tensor

    def history(self) -> Callable[[float], Tensor]:
        """The residual as a function of time: a cubic spline through the recorded ones.

        Raises:
            ValueError: a flow with a single time.
        """
        if len(self.t) < 2:
            raise ValueError(f"t must hold at least two times, got {len(self.t)}")
        spline = CubicSpline(self.t.numpy(), self.residual.numpy())
        return lambda time: torch.from_numpy(spline(time))


def gaussian_particles(
    h: int,
    D: int,
    seed: int = 0,
    members: int | None = None,
    *,
    antithetic: bool = False,
    quasi: bool = False,
) -> Tensor:
    """Particles from N(0, 1), shape (h, D), or (members, h, D) for that many seeds.

    Args:
        h: number of particles.
        D: parameters of each.
        seed: of the first member.
        members: number of seeds; ``None`` leaves the axis out.
        antithetic: the second half repeats the first with the sign of the first
            parameter (the read-out) turned, so that f = 0 at the start.
        quasi: scrambled Sobol points instead of independent ones. Averages over them
            converge almost as 1/h, which makes them a stand-in for the limit.

    Raises:
        TypeError, ValueError: sizes that are not positive integers, or an odd number
            of antithetic particles.
    """
    check.flag("antithetic", antithetic)
    check.flag("quasi", quasi)
    h = check.size("h", h)
    D = check.positive_int("D", D, most=_MOST_QUASI if quasi else 2**31 - 1)
    seed = check.positive_int("seed", seed, least=0, most=2**62)
    if members is not None:
        members = check.size("members", members)
    if antithetic and h % 2:
        raise ValueError(f"h must be even for antithetic particles, got {h}")
    count = h // 2 if antithetic else h

    def one(key: int) -> Tensor:
        if quasi:
            points = torch.quasirandom.SobolEngine(D, scramble=True, seed=key).draw(
                count, dtype=torch.float64
            )
            # half a step of the 2^-30 lattice keeps the quantile finite
            draw = torch.special.ndtri(points.clamp(2.0**-31, 1.0 - 2.0**-31))
        else:
            named = rng.generator("particles", key)
            draw = torch.randn(count, D, generator=named, dtype=torch.float64)
        if not antithetic:
            return draw
        mirrored = draw.clone()
        mirrored[:, 0] *= -1.0
        return torch.cat((draw, mirrored))

    if members is None:
        return one(seed)
    return torch.stack([one(seed + k) for k in range(members)])


def _size(theta: Tensor) -> float:
    return float(theta.square().mean().sqrt())


def particle_flow(
    model: MeanField,
    theta: Tensor,
    t: Times,
    *,
    residual: Callable[[float], Tensor] | None = None,
    rtol: float = 1e-8,
) -> ParticleFlow:
    r"""Integrate GFD, dtheta_i/dt = (1/alpha) E_x[u grad sigma_*(x; theta_i)].

    Order eight, adaptive, in float64; all members share the steps.

    Args:
        model: units, data and alpha.
        theta: particles at time 0, (..., h, D).
        t: times, increasing, the first >= 0.
        residual: a residual given from outside, time -> (..., n). The particles then do
            not feel one another: they are carried along by the flow of another measure,
            such as that of the mean-field limit.
        rtol: relative accuracy of a step.

    Raises:
        TypeError, ValueError: particles or times of the wrong form.
        RuntimeError: the integrator gave up.
    """
    check.instance("model", model, MeanField)
    theta = model.particles(theta, own_members=True).detach()
    times = increasing_times(t)
    accuracy("rtol", rtol)
    if residual is not None:
        check.function("residual", residual)
        model.velocity(theta, residual(0.0))  # looks at what is given

    def velocity(time: float, state: np.ndarray) -> np.ndarray:
        points = torch.from_numpy(state).reshape(theta.shape)
        driver = None if residual is None else residual(time)
        return model.moved(points, driver).reshape(-1).numpy()

    start = theta.reshape(-1).numpy()
    states, _ = integrate(velocity, start, times, rtol, _size(theta))
    path = torch.from_numpy(states).reshape(len(times), *theta.shape)
    return ParticleFlow(
        torch.from_numpy(times), path, torch.stack([model.residual(p) for p in path])
    )


def coupled_flow(
    model: MeanField,
    theta: Tensor,
    t: Times,
    *,
    start: Tensor | None = None,
    rtol: float = 1e-10,
) -> ParticleFlow:
    r"""Integrate the coupled dynamics of mdl2022, Sec. 4.1, as one closed system:

        dtheta_i/dt = (1/alpha) E_x[u(x) grad sigma_*(x; theta_i)]      (DD)
        du(x)/dt    = -E_x'[K_mu(x, x') u(x')]                          (RD)

    The network's output is never evaluated: u is a variable of its own. That it stays
    y - f is a conservation law of the system, which the chapter and tests check.

    Args:
        model, theta, t, rtol: as in ``particle_flow``; no member axis.
        start: u at time 0 (n,); y - f by default.

    Raises:
        TypeError, ValueError: arguments of the wrong form.
        RuntimeError: the integrator gave up.
    """
    check.instance("model", model, MeanField)
    check.tensor("theta", theta, shape=(None, model.unit.D), like=model.y)
    theta = model.particles(theta, own_members=True).detach()
    u0 = model.residual(theta) if start is None else start
    u0 = check.constant("start", u0, shape=(len(model.x),), like=model.y)
    times = increasing_times(t)
    accuracy("rtol", rtol)
    split = theta.numel()

    def velocity(_time: float, state: np.ndarray) -> np.ndarray:
        both = torch.from_numpy(state)
        points, u = both[:split].reshape(theta.shape), both[split:]
        moved = model.moved(points, u).reshape(-1)
        fitted = -model.gram(points) @ (model.p * u)
        return torch.cat((moved, fitted)).numpy()

    begin = torch.cat((theta.reshape(-1), u0)).numpy()
    states, _ = integrate(velocity, begin, times, rtol, _size(theta))
    path = torch.from_numpy(states)
    return ParticleFlow(
        torch.from_numpy(times),
        path[:, :split].reshape(len(times), *theta.shape),
        path[:, split:],
    )


def frozen_residual(
    kernel: Tensor, residual: Tensor, t: Times, weights: Tensor | None = None
) -> Tensor:
    r"""u_t = exp(-K t) u_0: the residual dynamics with its kernel frozen (RD-NTK).

    K acts as an operator with the weights of the expectation, (K u)(x) = E_x'[K u].
    Every eigenmode decays at its own rate.

    Args:
        kernel: (n, n), symmetric and positive semi-definite.
        residual: u_0 (n,).
        t: times, increasing, the first >= 0.
        weights: probabilities of the inputs (n,), positive; equal by default.

    Returns:
        (len(t), n).

    Raises:
        TypeError, ValueError: shapes that do not fit, a kernel that is not symmetric or
            clearly indefinite, or weights that are not positive or do not sum to one.
    """
    residual = check.constant("residual", residual, ndim=1)
    n = len(residual)
    kernel = check.kernel("kernel", kernel, n=n, like=residual)
    times = torch.from_numpy(increasing_times(t)).to(residual)
    p = torch.full_like(residual, 1.0 / n) if weights is None else weights
    p = check.probabilities("weights", p, n, like=residual)
    if not bool((p > 0).all()):
        raise ValueError("weights must be positive")
    root = p.sqrt()
    rates, vectors = modes("kernel", root[:, None] * kernel * root)
    # What is below zero is rounding, which must not grow.
    rates = check.positive("kernel", rates).clamp(min=0.0)
    decay = torch.exp(-times[:, None] * rates)
    return (decay * (vectors.T @ (root * residual))) @ vectors.T / root
