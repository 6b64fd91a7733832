r"""The density picture: DD as a conservation law on a grid (mdl2022, Sec. 3.4).

    d rho / dt = div(rho grad Psi(theta; rho)) / alpha

in one or more dimensions by finite volumes: slopes limited after van Leer, upwind
fluxes, and the three-stage Runge-Kutta method that is a convex combination of Euler
steps. Each of these keeps the total mass to rounding and every cell non-negative, at a
step bounded by the velocity, and all together are second order in the mesh.

Psi depends on the density through the residual u alone, so that a step costs one product
of a (cells, n) matrix with the masses and one of a (faces, n) matrix with u.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.runge_kutta import increasing_times
from lazyrich.core.threads import one_thread
from lazyrich.meanfield.model import MeanField

_COURANT = 0.45
"""Share of a cell that the flow may cross in a step, summed over axes; up to 1/2 no cell
can lose more than it holds."""


_MOST_STEPS = 200_000
"""Steps after which a flow is given up, or would be at the speed it has."""


@dataclass(frozen=True)
class Grid:
    """A box of equal cells.

    Args:
        low, high: corners of the box, one number an axis.
        cells: cells an axis.

    Raises:
        ValueError: lengths that differ, an empty box, or fewer than three cells.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    cells: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("low", "high", "cells"):
            given = getattr(self, name)
            if isinstance(given, str) or not isinstance(given, Sequence):
                raise TypeError(
                    f"{name} must be a tuple of numbers, one an axis, "
                    f"got {check.shown(given)}"
                )
            object.__setattr__(self, name, tuple(given))
        if not len(self.low) == len(self.high) == len(self.cells) > 0:
            raise ValueError("low, high and cells must have one number an axis")
        for a, b, count in zip(self.low, self.high, self.cells, strict=True):
            check.size("cells", count, least=3)
            a, b = check.real("low", a), check.real("high", b)
            if not a < b or math.isinf(b - a):
                raise ValueError(f"low must be below high, got {a!r} and {b!r}")

    @property
    def D(self) -> int:
        """Number of axes."""
        return len(self.cells)

    @cached_property
    def steps(self) -> tuple[float, ...]:
        """Width of a cell, by axis."""
        return tuple(
            (b - a) / n for a, b, n in zip(self.low, self.high, self.cells, strict=True)
        )

    @cached_property
    def edges(self) -> tuple[Tensor, ...]:
        """Borders of the cells, by axis."""
        return tuple(
            torch.linspace(a, b, n + 1, dtype=torch.float64)
            for a, b, n in zip(self.low, self.high, self.cells, strict=True)
        )

    @cached_property
    def middles(self) -> tuple[Tensor, ...]:
        """Centres of the cells, by axis."""
        return tuple(0.5 * (e[1:] + e[:-1]) for e in self.edges)

    @cached_property
    def volume(self) -> float:
        """Of a cell; a density is a mass over it."""
        return math.prod(self.steps)

    def centers(self) -> Tensor:
        """All cells as points (number of cells, D), last axis fastest."""
        return _points(self.middles)

    def faces(self, axis: int) -> Tensor:
        """Centres of the inner faces across ``axis``, as points.

        Raises:
            TypeError, ValueError: no axis of the grid.
        """
        check.positive_int("axis", axis, least=0, most=self.D - 1)
        places = list(self.middles)
        places[axis] = self.edges[axis][1:-1]
        return _points(places)

    def mass(self, *cdf: Callable[[np.ndarray], np.ndarray]) -> Tensor:
        """Cell masses of a product measure, exactly, from the distribution function of
        each axis; what lies outside the box is left out and the rest has mass one.

        Raises:
            TypeError, ValueError: another number of functions than axes, functions that
                do not rise, or a measure that lies outside the box.
        """
        if len(cdf) != self.D:
            raise ValueError(f"cdf must be {self.D} functions, got {len(cdf)}")
        product = torch.ones((), dtype=torch.float64)
        for edges, function in zip(self.edges, cdf, strict=True):
            check.function("cdf", function)
            values = np.asarray(function(edges.numpy().copy()), dtype=np.float64)
            share = np.diff(values) if values.shape == edges.shape else np.full(1, -1.0)
            if not np.all(np.isfinite(share)) or np.any(share < 0):
                raise ValueError(
                    "cdf must be distribution functions, which rise from border to border"
                )
            product = product.unsqueeze(-1) * torch.from_numpy(share)
        total = float(product.sum())
        if not total > 0:
            raise ValueError("cdf must have mass within the box of the grid, got none")
        return product / product.sum()


def _points(places: Sequence[Tensor]) -> Tensor:
    mesh = torch.meshgrid(*places, indexing="ij")
    return torch.stack([m.reshape(-1) for m in mesh], dim=-1)


@dataclass(frozen=True)
class DensityFlow:
    """A trajectory of a density.

    Attributes:
        grid: its cells.
        t: (m,) times.
        mass: (m, cells ...) mass of every cell; the sum is one.
        residual: (m, n) u = y - f along the way.
        steps: how many steps were taken.
    """

    grid: Grid
    t: Tensor
    mass: Tensor
    residual: Tensor
    steps: int

    @property
    def density(self) -> Tensor:
        """Mass over volume, (m, cells ...)."""
        return self.mass / self.grid.volume


def _limited(rho: Tensor, axis: int) -> Tensor:
    """Van Leer's slope across a cell: the harmonic mean of the two differences, zero at
    an extremum and at the walls. It never takes a face value below zero."""
    step = torch.diff(rho, dim=axis)
    inner = step.shape[axis] - 1
    left, right = step.narrow(axis, 0, inner), step.narrow(axis, 1, inner)
    product = left * right
    mean = torch.where(product > 0, 2.0 * product / (left + right), 0.0)
    slope = torch.zeros_like(rho)
    slope.narrow(axis, 1, inner).copy_(mean)
    return slope


class _Transport:
    """The right-hand side: masses to rates of change, and the residual."""

    def __init__(self, model: MeanField, grid: Grid) -> None:
        self.model, self.grid = model, grid
        self.features, _ = model.unit.pullback(model.x, grid.centers())
        self.slopes, self.shapes = [], []
        for axis in range(grid.D):
            faces = grid.faces(axis)
            self.slopes.append(model.unit.jacobian(model.x, faces)[..., axis])
            shape = list(grid.cells)
            shape[axis] -= 1
            self.shapes.append(shape)

    def residual(self, mass: Tensor) -> Tensor:
        return self.model.y - self.model.scale * (mass.reshape(-1) @ self.features)

    def velocities(self, residual: Tensor) -> list[Tensor]:
        pushed = self.model.p * residual / self.model.scale
        return [
            (slope @ pushed).reshape(shape)
            for slope, shape in zip(self.slopes, self.shapes, strict=True)
        ]

    def longest_step(self, velocities: list[Tensor]) -> float:
        crossing = sum(
            float(v.abs().max()) / step
            for v, step in zip(velocities, self.grid.steps, strict=True)
        )
        if not math.isfinite(crossing):
            raise RuntimeError("the density could not be followed: it moves too fast")
        return _COURANT / crossing if crossing > 0 else math.inf

    def rate(self, mass: Tensor, velocities: list[Tensor]) -> Tensor:
        change = torch.zeros_like(mass)
        for axis, velocity in enumerate(velocities):
            slope = 0.5 * _limited(mass, axis)
            inner = mass.shape[axis] - 1
            left = (mass + slope).narrow(axis, 0, inner)
            right = (mass - slope).narrow(axis, 1, inner)
            flux = velocity.clamp(min=0) * left + velocity.clamp(max=0) * right
            flux = flux / self.grid.steps[axis]
            change.narrow(axis, 0, inner).sub_(flux)
            change.narrow(axis, 1, inner).add_(flux)
        return change

    def euler(self, mass: Tensor, dt: float) -> tuple[Tensor, bool]:
        """One Euler step, and whether dt is short enough to keep the mass positive."""
        velocities = self.velocities(self.residual(mass))
        allowed = self.longest_step(velocities) * (0.5 / _COURANT)
        return mass + dt * self.rate(mass, velocities), dt <= allowed


@one_thread()  # sums have one order on any machine
def density_flow(
    model: MeanField, grid: Grid, mass: Tensor, t: Sequence[float] | np.ndarray | Tensor
) -> DensityFlow:
    """Integrate DD from a given distribution of mass, with walls that let nothing out.

    Args:
        model: units (with D axes), data and alpha.
        grid: cells.
        mass: of every cell at time 0, >= 0, summing to one, shape ``grid.cells``; as
            from ``Grid.mass``.
        t: times, increasing, the first >= 0.

    Raises:
        TypeError, ValueError: a grid of other dimension than the unit, a model with
            members, masses that are no probabilities, or times that do not increase.
        RuntimeError: too many steps for the times ``t``.

    Accuracy: second order in the mesh where the density is smooth; mass is conserved to
        rounding and never negative.
    """
    check.instance("model", model, MeanField)
    check.instance("grid", grid, Grid)
    if model.scale.numel() > 1 or model.y.ndim > 1:
        raise ValueError(
            "model must have one alpha and targets (n,): a density has no members"
        )
    if grid.D != model.unit.D:
        raise ValueError(
            f"grid must have as many axes as a particle has parameters, "
            f"{model.unit.D}; got {grid.D}"
        )
    mass = check.constant("mass", mass, shape=grid.cells, like=model.y)
    flat = mass.reshape(-1)
    check.probabilities("mass", flat, len(flat), like=model.y)
    times = increasing_times(t)
    flow = _Transport(model, grid)
    now, steps, seen = 0.0, 0, []
    for end in times:
        while now < end:
            residual = flow.residual(mass)
            dt = flow.longest_step(flow.velocities(residual))
            left = float(end) - now
            if steps + left / max(dt, 1e-300) > _MOST_STEPS:
                raise RuntimeError(
                    f"the density could not be followed up to t = {float(end):g}: from "
                    f"{now:.3g} on that takes more than {_MOST_STEPS} steps in all"
                )
            # equal steps up to the next record, not a tiny last one
            dt = left / math.ceil(left / dt) if dt < left else left
            mass, dt = _ssp_step(flow, mass, dt)
            now = float(end) if dt == left else now + dt
            steps += 1
        seen.append(mass)
    path = torch.stack(seen)
    residuals = torch.stack([flow.residual(m) for m in path])
    return DensityFlow(grid, torch.from_numpy(times), path, residuals, steps)


def _ssp_step(flow: _Transport, mass: Tensor, dt: float) -> tuple[Tensor, float]:
    """A step of the three-stage method, halved until every stage keeps the mass
    positive; the velocity may have grown within the step."""
    while True:
        first, good = flow.euler(mass, dt)
        if good:
            second, good = flow.euler(first, dt)
            second = 0.75 * mass + 0.25 * second
        if good:
            third, good = flow.euler(second, dt)
            third = (mass + 2.0 * third) / 3.0
        if good:
            return third, dt
        dt *= 0.5
        if not dt > 0:
            raise RuntimeError(
                "the density could not be followed: no step is short enough"
            )
