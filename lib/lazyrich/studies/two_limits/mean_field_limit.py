r"""Measurements on the limit of many neurons at a fixed scale (mdl2022, Secs. 3.5 to 4.2).

The limit itself is played by 2^14 particles on scrambled Sobol points: averages over them
are far closer to the limit than independent particles of any number used here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gammainc, roots_genlaguerre
from torch import Tensor

from lazyrich.core import rng
from lazyrich.meanfield import (
    DensityFlow,
    Grid,
    MeanField,
    Neuron,
    ParticleFlow,
    Quantile,
    RadialRamp,
    coupled_flow,
    density_flow,
    gaussian_particles,
    particle_flow,
    wasserstein,
    wasserstein_1d,
)
from lazyrich.studies.tools.statistics import Slope, bootstrap
from lazyrich.studies.two_limits.distributional_dynamics import line_density, line_flow
from lazyrich.studies.two_limits.toys import F64, line_particles, toy

WIDTHS = (50, 100, 200, 400, 800, 1600, 3200)
"""Numbers of particles at which rates are fitted."""

LINE_WIDTHS = (100, 200, 400, 800, 1600, 3200)
"""The same on the line."""

TIMES = np.linspace(0.0, 4.0, 33)
"""Times of the runs from which rates are fitted; 1, 2 and 4 are among them."""

_MANY = 2**14


def slope_in_width(widths: Sequence[int], errors: np.ndarray, name: str) -> Slope:
    """Log-log slope in the width of the root mean square over seeds, bootstrapped.

    Args:
        widths: (k,).
        errors: (k, seeds), not negative.
        name: of the bootstrap's random stream.
    """
    x = np.log(np.asarray(widths, dtype=float))

    def statistic(sample: np.ndarray) -> float:
        return float(np.polyfit(x, np.log(over_seeds(sample.T)), 1)[0])

    return bootstrap(np.ascontiguousarray(errors.T), statistic, name)


def over_seeds(errors: np.ndarray) -> np.ndarray:
    """Root mean square over the seeds on the last axis."""
    return np.sqrt((errors**2).mean(-1))


# ------------------------------------------------------------------- residual dynamics


def kernel_of_the_measure(seed: int = 0) -> dict[str, float]:
    """K_mu of weighted atoms against repeated particles, and K_mu u against the
    derivative of the outputs along GFD."""
    model = toy(alpha=1.4)
    atoms = gaussian_particles(12, 4, seed)
    times = torch.from_numpy(
        rng.numpy_generator("repeats", seed).integers(1, 5, size=12)
    )
    repeated = atoms.repeat_interleave(times, dim=0)
    mass = times.to(F64) / times.sum()
    by_mass, by_particles = model.kernel(atoms, mass), model.kernel(repeated)
    _, moved = torch.func.jvp(model.f, (repeated,), (model.velocity(repeated),))[:2]
    driven = by_mass @ (model.p * model.residual(repeated))
    return {
        "kernel": float((by_mass - by_particles).abs().max()),
        "velocity": float((moved - driven).abs().max() / driven.abs().max()),
    }


def closed_system(h: int = 100, time: float = 4.0) -> dict[str, float]:
    """u of the coupled dynamics against y - f of its particles, and its particles against
    GFD alone."""
    model = toy(alpha=1.4)
    theta = gaussian_particles(h, 4)
    times = np.linspace(0.0, time, 9)
    both = coupled_flow(model, theta, times)
    alone = particle_flow(model, theta, times, rtol=1e-10)
    implied = torch.stack([model.residual(p) for p in both.theta])
    return {
        "mismatch": float((implied - both.residual).abs().max()),
        "off_the_particle_flow": float((both.theta - alone.theta).abs().max()),
    }


# ---------------------------------------------------------------------- rates in width


@dataclass(frozen=True)
class Limit:
    """The mean-field limit of a toy, with a residual that other particles can follow."""

    model: MeanField
    flow: ParticleFlow

    @property
    def risk(self) -> Tensor:
        """(times,) R along the way."""
        return self.flow.residual**2 @ self.model.p


def limit(d: int = 3, alpha: float = 1.0, times: np.ndarray = TIMES) -> Limit:
    """The stand-in for infinitely many particles."""
    model = toy(d=d, alpha=alpha)
    start = gaussian_particles(_MANY, d + 1, quasi=True)
    return Limit(model, particle_flow(model, start, times, rtol=1e-6))


def nets(
    reference: Limit, h: int, seeds: int = 16, times: np.ndarray = TIMES
) -> ParticleFlow:
    """Finite nets of independent weights, members on the second axis."""
    D = reference.model.unit.D
    start = gaussian_particles(h, D, seed=h, members=seeds)
    return particle_flow(reference.model, start, times, rtol=1e-6)


def risk_error(reference: Limit, flows: Mapping[int, ParticleFlow]) -> np.ndarray:
    """sup over time of |R_N - R|, shape (widths, seeds)."""
    rows = []
    for flow in flows.values():
        risk = flow.residual**2 @ reference.model.p
        rows.append((risk - reference.risk[:, None]).abs().amax(0))
    return torch.stack(rows).numpy()


def observables(
    reference: Limit, flows: Mapping[int, ParticleFlow], at: Sequence[float] = (1, 2, 4)
) -> dict[str, np.ndarray]:
    """Distance of moments of theta and of outputs at five fresh points from the limit.

    Returns:
        ``moments`` (of first and second order) and ``outputs``: root mean square over
        components and the times ``at``, shape (widths, seeds).
    """
    gen = rng.generator("two limits/fresh points", 0)
    model = reference.model
    fresh = torch.randn(5, model.x.shape[1], generator=gen, dtype=F64)
    index = [int(np.argmin(np.abs(TIMES - t))) for t in at]

    def moments(theta: Tensor) -> Tensor:
        second = theta.mT @ theta / theta.shape[-2]
        return torch.cat((theta.mean(-2), second.flatten(start_dim=-2)), dim=-1)

    def outputs(theta: Tensor) -> Tensor:
        return torch.stack([model.f(points, x=fresh) for points in theta])

    found: dict[str, list[Tensor]] = {"moments": [], "outputs": []}
    for name, read in (("moments", moments), ("outputs", outputs)):
        right = read(reference.flow.theta[index])
        for flow in flows.values():
            away = read(flow.theta[index]) - right.unsqueeze(1)
            found[name].append(away.square().mean((0, -1)).sqrt())
    return {name: torch.stack(rows).numpy() for name, rows in found.items()}


def dimension_errors(
    dimensions: Sequence[int] = (3, 10, 30), h: int = 400, seeds: int = 16
) -> dict[str, np.ndarray]:
    """Distance of nets of one N from the limit, by dimension; root mean squares.

    Returns:
        ``risk``, the sup over time of |R_N - R|; ``risk_at_end``, |R_N - R| at the last
        time; and ``outputs_at_end``, the distance of the outputs there.
    """
    found: dict[str, list[float]] = {
        "risk": [],
        "risk_at_end": [],
        "outputs_at_end": [],
    }
    for d in dimensions:
        reference = limit(d)
        flow = nets(reference, h, seeds)
        error = risk_error(reference, {h: flow})
        found["risk"].append(float(np.sqrt((error**2).mean())))
        u, v = flow.residual[-1], reference.flow.residual[-1]
        last = u**2 @ reference.model.p - reference.risk[-1]
        found["risk_at_end"].append(float(last.square().mean().sqrt()))
        found["outputs_at_end"].append(float((u - v).square().mean().sqrt()))
    return {name: np.array(values) for name, values in found.items()}


def coupled_distance(
    reference: Limit, widths: Sequence[int] = WIDTHS, seeds: int = 20
) -> np.ndarray:
    """Root mean square distance at the last time between every particle of a finite net
    and its twin, which has the same start and follows the limit; (widths, seeds).

    It is the cost of one coupling and so an upper bound of W_2.
    """
    ends = (0.0, float(TIMES[-1]))
    residual = reference.flow.history()
    rows = []
    for h in widths:
        start = gaussian_particles(h, reference.model.unit.D, seed=h, members=seeds)
        own = particle_flow(reference.model, start, ends, rtol=1e-6)
        twin = particle_flow(reference.model, start, ends, residual=residual, rtol=1e-6)
        away = (own.theta[-1] - twin.theta[-1]).square().sum(-1).mean(-1).sqrt()
        rows.append(away)
    return torch.stack(rows).numpy()


def distance_between_nets(
    d: int, widths: Sequence[int] = (50, 100, 200, 400, 800), seeds: int = 4
) -> np.ndarray:
    """W_2 by assignment between independent nets at time four, (widths, pairs): what
    sampling in D = d + 1 dimensions allows."""
    model = toy(d=d)
    ends = (0.0, float(TIMES[-1]))
    rows = []
    for h in widths:
        start = gaussian_particles(h, d + 1, seed=h, members=2 * seeds)
        last = particle_flow(model, start, ends, rtol=1e-6).theta[-1]
        rows.append([wasserstein(last[2 * k], last[2 * k + 1]) for k in range(seeds)])
    return np.array(rows)


def distance_on_the_line(
    widths: Sequence[int] = LINE_WIDTHS,
    seeds: int = 24,
    time: float = 10.0,
) -> np.ndarray:
    """W_2 between particles and the density of DD on the line, D = 1; (widths, seeds)."""
    density = line_density(800, (0.0, time))
    law = Quantile.of_cells(density.grid.edges[0], density.mass[-1])
    rows = []
    for h in widths:
        start = line_particles(h, seed=h, members=seeds)
        last = line_flow(start, (0.0, time), rtol=1e-5).theta[-1]
        rows.append([wasserstein_1d(Quantile.of_particles(p), law) for p in last])
    return np.array(rows)


# ------------------------------------------------------------------- feature learning


def kernel_change(
    alphas: Sequence[float], h: int, time: float = 6.0, seed: int = 0
) -> np.ndarray:
    """|K_t - K_0| / |K_0| for antithetic particles (f = 0 at the start), by alpha."""
    model = toy(alpha=torch.tensor(list(alphas), dtype=F64))
    theta = gaussian_particles(h, 4, seed, antithetic=True)
    start = theta.expand(len(alphas), -1, -1).contiguous()
    last = particle_flow(model, start, (time,), rtol=1e-7).theta[0]
    before = model.kernel(theta)
    moved = torch.stack([model.kernel(points) - before for points in last])
    return (moved.norm(dim=(1, 2)) / before.norm()).numpy()


def outputs_at_start(
    widths: Sequence[int] = (16, 64, 256, 1024), draws: int = 5000
) -> np.ndarray:
    """(1/N) sum sigma_* on one input over independent nets: (widths, draws)."""
    unit, x = toy().unit, toy().x[:1]
    rows = []
    for h in widths:
        gen = rng.generator("two limits/outputs at start", h)
        chunks = [
            unit.pullback(x, torch.randn(500, h, unit.D, generator=gen, dtype=F64))[0]
            .mean((-2, -1))
            for _ in range(draws // 500)
        ]  # fmt: skip
        rows.append(torch.cat(chunks))
    return torch.stack(rows).numpy()


# ------------------------------------------------- isotropic Gaussians, any dimension


RADIAL_TIMES = (0.0, 0.3, 1.0, 2.0, 4.0, 7.0, 12.0, 20.0, 30.0)
"""Times at which the radial flow is looked at."""


def isotropic_classes(
    d: int, delta: float = 0.8, nodes: int = 40, points: int = 1024
) -> tuple[MeanField, MeanField]:
    """Two classes N(0, (1 +- delta)^2 I_d) with labels +-1 (Mei, Montanari, Nguyen 2018).

    The ramp is four times less steep than theirs, which slows everything down and leaves
    the picture as it is.

    Returns:
        the radial model, D = 1, whose inputs are norms |x| at the nodes of a Gauss-Laguerre
        rule for |x|^2; and the model of full particles w in R^d, on ``points`` inputs of
        each class on Sobol points.
    """
    node, weight = roots_genlaguerre(nodes, d / 2 - 1)
    norm = np.sqrt(2 * node)
    share = 0.5 * weight / weight.sum()
    unit = RadialRamp(d, low=-1.0, high=3.0)
    x = torch.from_numpy(np.concatenate([(1 + delta) * norm, (1 - delta) * norm]))
    p = torch.from_numpy(np.concatenate([share, share]))
    y = torch.ones(2 * nodes, dtype=F64)
    y[nodes:] = -1.0
    radial = MeanField(unit, x.unsqueeze(1), y, p / p.sum())
    draw = gaussian_particles(points, d, quasi=True)
    full = MeanField(
        Neuron(d, unit, unit.slope, readout=False),
        torch.cat(((1 + delta) * draw, (1 - delta) * draw)),
        torch.cat((torch.ones(points), -torch.ones(points))).to(F64),
    )
    return radial, full


def radial_flow(
    radial: MeanField,
    d: int,
    scale: float,
    times: Sequence[float] = RADIAL_TIMES,
    cells: int = 300,
) -> DensityFlow:
    """The density of |w| on [0, 4] from w ~ N(0, scale^2 / d)."""
    grid = Grid((0.0,), (4.0,), (cells,))
    # the norm of a Gaussian vector: r^2 d / scale^2 is chi-squared with d degrees
    start = grid.mass(lambda r: gammainc(d / 2, d * (r / scale) ** 2 / 2))
    return density_flow(radial, grid, start, times)


def radial_against_particles(
    d: int = 3, scale: float = 0.8, h: int = 200, time: float = 4.0
) -> tuple[np.ndarray, np.ndarray]:
    """Full particles in R^d against the radial density: risks of both at three times, and
    W_2 between the radii and the density there."""
    radial, full = isotropic_classes(d)
    times = (0.0, time / 4, time)
    density = radial_flow(radial, d, scale, times)
    start = scale / np.sqrt(d) * gaussian_particles(h, d)
    flow = particle_flow(full, start, times, rtol=1e-3)
    risks = torch.stack((density.residual**2 @ radial.p, flow.residual**2 @ full.p))
    edges = density.grid.edges[0]
    away = [
        wasserstein_1d(Quantile.of_particles(r), Quantile.of_cells(edges, mass))
        for r, mass in zip(flow.theta.norm(dim=-1), density.mass, strict=True)
    ]
    return risks.numpy(), np.array(away)
