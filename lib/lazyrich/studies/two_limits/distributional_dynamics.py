r"""Measurements on the distributional dynamics (mdl2022, Secs. 3.3 and 3.4)."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor

from lazyrich.core import rng
from lazyrich.meanfield import (
    DensityFlow,
    Grid,
    MeanField,
    Neuron,
    ParticleFlow,
    Quantile,
    density_flow,
    gaussian_particles,
    jko_flow,
    matching,
    particle_flow,
    wasserstein,
    wasserstein_1d,
)
from lazyrich.studies.tools.statistics import loglog_slope
from lazyrich.studies.two_limits.toys import (
    F64,
    line,
    line_cdf,
    line_particles,
    line_quantiles,
    toy,
)

LINE_TIMES = (0.0, 1.0, 2.0, 4.0, 7.0, 10.0, 14.0, 18.0, 24.0, 32.0, 45.0, 60.0)
"""Times at which the flow on the line is looked at."""

_LINE_BOX = (-4.0, 4.0)


def measure_linearity(seed: int = 0) -> dict[str, float]:
    """f of a mixture, of permuted and of duplicated particles; largest differences."""
    model = toy(alpha=1.7)
    theta = gaussian_particles(30, 4, seed)
    other = gaussian_particles(50, 4, seed + 1)
    share = 0.3
    both = torch.cat((theta, other))
    mass = _mixture(share, 50, 30)
    f = model.f(theta)
    mixed = share * f + (1 - share) * model.f(other)
    order = torch.from_numpy(rng.numpy_generator("permute", seed).permutation(30))
    return {
        "mixture": float((model.f(both, mass) - mixed).abs().max()),
        "permutation": float((model.f(theta[order]) - f).abs().max()),
        "duplication": float((model.f(torch.cat((theta, theta))) - f).abs().max()),
    }


def _mixture(share: float, other: int, h: int) -> Tensor:
    """Masses of h particles that hold ``share`` together, and of ``other`` more."""
    first = torch.full((h,), share / h, dtype=F64)
    return torch.cat((first, torch.full((other,), (1 - share) / other, dtype=F64)))


def weak_form(h: int = 100, time: float = 1.0, step: float = 1e-4) -> float:
    """d/dt of five polynomial averages over particles against the flux of DD.

    The averages of a, a^2, |w|^2, a w_1 and w_1 w_2 w_3, by central differences along the
    flow of the particles, against -(1/alpha) int grad phi . grad Psi dmu; the largest
    difference. It is exact at finite N: no limit enters.
    """
    model = toy(alpha=1.3)
    flow = particle_flow(
        model, gaussian_particles(h, 4), (time - step, time, time + step), rtol=1e-12
    )

    def averages(theta: Tensor) -> Tensor:
        a, w = theta[..., 0], theta[..., 1:]
        values = (a, a**2, (w**2).sum(-1), a * w[..., 0], w.prod(-1))
        return torch.stack([v.mean(-1) for v in values], dim=-1)

    before, now, after = flow.theta
    found = (averages(after) - averages(before)) / (2 * step)
    velocity = model.velocity(now)
    # grad phi . v averaged over particles is the derivative of the average along v
    expected = torch.func.jvp(averages, (now,), (velocity,))[1]
    return float((found - expected).abs().max())


def line_density(cells: int, times: Sequence[float] = LINE_TIMES) -> DensityFlow:
    """DD on the line by finite volumes."""
    grid = Grid((_LINE_BOX[0],), (_LINE_BOX[1],), (cells,))
    return density_flow(line(), grid, grid.mass(line_cdf), times)


def line_flow(
    theta: Tensor, times: Sequence[float] = LINE_TIMES, rtol: float = 1e-8
) -> ParticleFlow:
    """GFD on the line from given particles."""
    return particle_flow(line(), theta, times, rtol=rtol)


def refinement(
    cells: Sequence[int] = (100, 200, 400), finest: int = 1600, time: float = 10.0
) -> tuple[np.ndarray, dict[str, float | bool]]:
    """L1 distance of the density to a fine one, by number of cells, and what every run
    must keep: the mass and the sign."""
    runs = [line_density(n, (0.0, time)) for n in (*cells, finest)]
    reference = runs[-1].mass[-1]
    errors = np.array(
        [
            float((reference.reshape(n, -1).sum(-1) - run.mass[-1]).abs().sum())
            for n, run in zip(cells, runs, strict=False)
        ]
    )
    return errors, {
        "order": -loglog_slope(np.array(cells), errors),
        "mass_lost": max(float((r.mass.sum(-1) - 1).abs().max()) for r in runs),
        "non_negative": all(bool((r.mass >= 0).all()) for r in runs),
    }


def density_against_particles(density: DensityFlow, h: int = 4000) -> np.ndarray:
    """W_2 between particles started at the quantiles and the density, at all times."""
    flow = line_flow(line_quantiles(h), density.t.tolist())
    return distances_on_the_line(flow.theta, density)


def distances_on_the_line(theta: Tensor, density: DensityFlow) -> np.ndarray:
    """W_2 between particles (times, h, 1) and the density, time by time."""
    return np.array(
        [
            wasserstein_1d(
                Quantile.of_particles(points),
                Quantile.of_cells(density.grid.edges[0], mass),
            )
            for points, mass in zip(theta, density.mass, strict=True)
        ]
    )


def histogram_distance(
    density: DensityFlow, theta: Tensor, bins: int = 40
) -> np.ndarray:
    """L1 distance between histograms of particles (times, h, 1) and the density, with
    cells merged into ``bins``; time by time."""
    edges = density.grid.edges[0]
    coarse = edges[:: (len(edges) - 1) // bins]
    found = []
    for points, mass in zip(theta, density.mass, strict=True):
        counts = torch.histogram(points[:, 0].contiguous(), coarse).hist / len(points)
        found.append(float((counts - mass.reshape(bins, -1).sum(-1)).abs().sum()))
    return np.array(found)


def first_variation(seed: int = 0, step: float = 0.1) -> float:
    """Directional derivative of R along mu_1 - mu_0 against 2 alpha int Psi d(mu_1 -
    mu_0): the difference, relative to the derivative.

    The derivative is taken at mu_0 from mixtures alone, which have no negative mass; R is
    quadratic in mu, so that three points give it exactly.
    """
    worst = 0.0
    for k in range(5):
        model = toy(alpha=0.5 + k)
        theta = gaussian_particles(20, 4, seed + k)
        other = gaussian_particles(35, 4, seed + 100 + k)
        both = torch.cat((theta, other))

        def risk(s: float, model: MeanField = model, both: Tensor = both) -> Tensor:
            return model.risk(both, _mixture(1 - s, 35, 20))

        found = (4 * risk(step) - risk(2 * step) - 3 * risk(0.0)) / (2 * step)
        psi = model.potential(both, model.residual(theta))
        expected = 2 * float(model.alpha) * (psi[20:].mean() - psi[:20].mean())
        worst = max(worst, abs(float(found / expected) - 1.0))
    return worst


def convexity(pairs: int = 1000, seed: int = 0) -> dict[str, float]:
    """Second differences of R along mixtures of random pairs of measures, and along
    straight lines between positions of the particles.

    Returns:
        ``mismatch`` of the second difference and 2 alpha^2 E[(int sigma_* d(mu_1 -
        mu_0))^2], relative; the ``smallest`` of all pairs; and ``smallest_in_positions``,
        where nothing forbids a negative one.
    """
    model = toy(alpha=1.7)
    gen = rng.numpy_generator("convexity", seed)
    scale = torch.from_numpy(gen.uniform(0.3, 3.0, size=(2, pairs, 1, 1)))
    theta, other = (
        s * gaussian_particles(h, 4, seed + start, members=pairs)
        for s, h, start in ((scale[0], 8, 0), (scale[1], 14, pairs))
    )
    both = torch.cat((theta, other), dim=1)

    def second(risk: list[Tensor]) -> Tensor:
        return (risk[0] - 2 * risk[1] + risk[2]) / 0.5**2

    mixtures = [_mixture(1 - s, 14, 8).expand(pairs, -1) for s in (0.0, 0.5, 1.0)]
    curvature = second([model.risk(both, mass) for mass in mixtures])
    # f holds the factor alpha already
    formula = 2 * (model.f(theta) - model.f(other)).square() @ model.p
    end = other[:, :8]
    straight = [model.risk((1 - s) * theta + s * end) for s in (0.0, 0.5, 1.0)]
    return {
        "mismatch": float((curvature / formula - 1.0).abs().max()),
        "smallest": float(curvature.min()),
        "smallest_in_positions": float(second(straight).min()),
    }


def bump_curvature(places: Tensor, step: float = 1e-3) -> np.ndarray:
    """d^2 R / d theta^2 of one bump at ``places`` that learns an equal bump at 0.

    Between two Dirac masses this is the second derivative of the risk along the
    Wasserstein geodesic. In units in which the risk far away from the target is one.
    """
    model = _lone_bump()
    theta = places.reshape(-1, 1, 1)
    risk = [model.risk(theta + s) for s in (-step, 0.0, step)]
    far = model.risk(torch.full((1, 1), 8.0, dtype=F64))
    return ((risk[0] - 2 * risk[1] + risk[2]) / (far * step**2)).numpy()


def _lone_bump() -> MeanField:
    x = torch.linspace(-16.0, 16.0, 321, dtype=F64).unsqueeze(1)
    unit = line().unit
    bump, _ = unit.pullback(x, torch.zeros(1, 1, dtype=F64))
    return MeanField(unit, x, bump[0])


def two_paths(share: np.ndarray, start: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Risk between one bump at ``start`` and one at the target, along their mixture and
    along the geodesic; in units of the risk far away."""
    model = _lone_bump()
    s = torch.from_numpy(share)
    both = torch.tensor([[start], [0.0]], dtype=F64)
    mixed = model.risk(both.expand(len(s), -1, -1), torch.stack((1 - s, s), dim=-1))
    moved = model.risk((start * (1 - s)).reshape(-1, 1, 1))
    far = model.risk(torch.full((1, 1), 8.0, dtype=F64))
    return (mixed / far).numpy(), (moved / far).numpy()


def displacement(h: int = 200, time: float = 200.0) -> dict[str, float]:
    """Share of the initial risk that is left on the line after a long time, from
    particles all at one point and from spread ones with the same mean."""
    spread = line_quantiles(h)
    together = torch.full_like(spread, float(spread.mean()))
    left = {}
    for name, start in (("stalled", together), ("spread_out", spread)):
        flow = line_flow(start, (0.0, time))
        risk = flow.residual**2 @ line().p
        left[name] = float(risk[1] / risk[0])
    return left


def transport_routes(seed: int = 0, h: int = 800) -> dict[str, float]:
    """Assignment against a linear programme, against sorting, and the slack of the
    triangle inequality over random triples."""
    programme, sorting, slack = 0.0, 0.0, np.inf
    for k in range(50):
        a, b, c = (gaussian_particles(40, 3, seed + 3 * k + j) for j in range(3))
        if k % 2:  # half way between the others, where the inequality is an equality
            b = 0.5 * (a + c[matching(a, c)])
        ab = wasserstein(a, b)
        slack = min(slack, ab + wasserstein(b, c) - wasserstein(a, c))
        if k < 10:
            mass = torch.full((40,), 1 / 40, dtype=F64)
            programme = max(programme, abs(wasserstein(a, b, mass, mass) - ab))
            line_a, line_b = a[:, :1], b[:, :1]
            sorted_ab = wasserstein_1d(
                Quantile.of_particles(line_a), Quantile.of_particles(line_b)
            )
            sorting = max(sorting, abs(wasserstein(line_a, line_b) - sorted_ab))
    return {
        "assignment_against_programming": programme,
        "assignment_against_sorting": sorting,
        "triangle": slack,
    }


def gaussian_pair(
    seed: int = 0, h: int = 800
) -> tuple[float, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """W_2 between samples of two Gaussians in the plane, with their means and
    covariances for the closed form."""
    factor = torch.tensor([[1.0, 0.0], [0.8, 0.5]], dtype=F64)
    shift = torch.tensor([3.0, -1.0], dtype=F64)
    a = gaussian_particles(h, 2, seed)
    b = shift + gaussian_particles(h, 2, seed + 1) @ factor.T
    law = (np.zeros(2), np.eye(2), shift.numpy(), (factor @ factor.T).numpy())
    return wasserstein(a, b), law


def metric_flow(h: int = 200, end: float = 4.0, dt: float = 1e-2) -> dict[str, float]:
    """Is DD a gradient flow in Wasserstein space, with the energy E = R/(2 alpha^2)?

    Returns:
        ``metric_speed``: W_2(mu_t, mu_(t+dt)) / dt by assignment over the root of
        int |grad Psi|^2 dmu / alpha, the farthest from one of three times;
        ``energy``: E(0) - E(t) over the integral of the squared speed.
    """
    model = toy(alpha=1.5)
    times = np.linspace(0.0, end, 161)
    flow = particle_flow(model, gaussian_particles(h, 4), times, rtol=1e-10)
    speed = torch.stack(
        [model.velocity(p).square().sum(-1).mean() for p in flow.theta]
    ).numpy()
    ratios = []
    for k in (0, 40, 120):
        short = particle_flow(model, flow.theta[k], (0.0, dt))
        moved = wasserstein(short.theta[0], short.theta[1])
        ratios.append(moved / (dt * np.sqrt(speed[k])))
    energy = (flow.residual**2 @ model.p).numpy() / (2 * float(model.alpha) ** 2)
    spent = np.trapezoid(speed, times)
    return {
        "metric_speed": max(ratios, key=lambda r: abs(r - 1.0)),
        "energy": float((energy[0] - energy[-1]) / spent),
    }


def jko_errors(
    taus: Sequence[float] = (0.2, 0.1, 0.05, 0.025), h: int = 30, alpha: float = 1.7
) -> tuple[np.ndarray, float]:
    """Distance of minimising movements to the flow at time one, by tau, and by how much
    the identity coupling costs more than the optimal one, relative, in the worst step.

    Particles in D = 3 (two inputs), the strength xi = 1/(2 alpha^2).
    """
    model = toy(d=2, alpha=alpha)
    start = gaussian_particles(h, 3)
    flow = particle_flow(model, start, (1.0,)).theta[0]
    errors, excess = [], 0.0
    for tau in taus:
        path = jko_flow(model, start, tau, round(1.0 / tau))
        errors.append(float((path[-1] - flow).square().sum(-1).mean().sqrt()))
        for before, after in zip(path[:-1], path[1:], strict=True):
            stay = (after - before).square().sum(-1).mean()
            best = (after - before[matching(after, before)]).square().sum(-1).mean()
            excess = max(excess, float(stay / best) - 1.0)
    return np.array(errors), excess


def jko_clock(
    xi: float = 0.5,
    alpha: float = 1.7,
    tau: float = 0.01,
    end: float = 0.5,
    h: int = 30,
) -> float:
    """How far along the flow minimising movements of another ``xi`` have come at time
    ``end``, over ``end``: the time at which the flow is closest to them."""
    model = toy(d=2, alpha=alpha)
    start = gaussian_particles(h, 3)
    last = jko_flow(model, start, tau, round(end / tau), xi)[-1]
    times = np.linspace(0.0, 6.0 * end, 601)
    flow = particle_flow(model, start, times)
    away = (flow.theta - last).square().sum((-1, -2))
    return float(times[int(away.argmin())] / end)


def line_sample(h: int, seed: int = 0) -> ParticleFlow:
    """GFD on the line from independent particles."""
    return line_flow(line_particles(h, seed)[0])


PLANE_TIMES = (0.0, 3.0, 10.0)
"""Times at which the flow in the plane is looked at."""


def plane(
    cells: int = 100, h: int = 400, times: Sequence[float] = PLANE_TIMES
) -> tuple[DensityFlow, ParticleFlow]:
    """DD for neurons a tanh(w x) on the line of inputs, D = 2: the density on a square of
    (a, w), and particles started at Sobol points."""
    x = torch.linspace(-2.0, 2.0, 21, dtype=F64).unsqueeze(1)
    model = MeanField(Neuron(1), x, torch.sin(2.0 * x[:, 0]), alpha=0.5)
    grid = Grid((-6.0, -6.0), (6.0, 6.0), (cells, cells))
    density = density_flow(model, grid, grid.mass(ndtr, ndtr), times)
    start = gaussian_particles(h, 2, quasi=True)
    return density, particle_flow(model, start, times)


def distance_in_the_plane(
    density: DensityFlow, flow: ParticleFlow, merge: int = 4
) -> np.ndarray:
    """W_2 between particles and the density by a linear programme, with ``merge`` by
    ``merge`` cells taken as one; time by time."""
    low, high = density.grid.low, density.grid.high
    fewer = tuple(n // merge for n in density.grid.cells)
    coarse = Grid(low, high, fewer)
    found = []
    for theta, mass in zip(flow.theta, density.mass, strict=True):
        share = mass.reshape(fewer[0], merge, fewer[1], merge).sum((1, 3)).reshape(-1)
        full = share > 1e-9
        centers, share = coarse.centers()[full], share[full] / share[full].sum()
        found.append(wasserstein(theta, centers, other_mass=share))
    return np.array(found)
