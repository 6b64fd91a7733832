r"""Stochastic descent and its temperature (geiger2020, App. A): exact sums over batches,
stationary states, and networks for which dt and batch size differ but T does not."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import integrate, linalg
from torch import Tensor

from lazyrich.core import rng
from lazyrich.dynamics import batch_size, stochastic_flow, temperature
from lazyrich.networks import FullyConnected
from lazyrich.studies.tools.statistics import Slope, bootstrap, loglog_slope

F64 = torch.float64


def covariance_over_batches(n: int = 6, d: int = 2, seed: int = 0) -> float:
    """Eq. 17 by brute force: the covariance of the mean of a batch, over all batches of
    every size, against (Sigma / b) (n - b)/(n - 1); largest absolute difference.

    Sigma is the covariance of the n vectors with the weight 1/n.
    """
    g = rng.numpy_generator("batches", seed).standard_normal((n, d))
    sigma = np.cov(g.T, bias=True)
    worst = 0.0
    for b in range(1, n + 1):
        means = np.array(
            [g[list(rows)].mean(0) for rows in itertools.combinations(range(n), b)]
        )
        exact = np.cov(means.T, bias=True)
        formula = sigma * temperature(1.0, b, n)
        worst = max(worst, float(np.abs(exact - formula).max()))
    return worst


def round_trip(tries: int = 200, seed: int = 0) -> float:
    """Largest relative error of T(b(T, dt), dt) = T for random n and dt >= T."""
    gen = rng.numpy_generator("round trip", seed)
    worst = 0.0
    for _ in range(tries):
        n = int(gen.integers(2, 5000))
        T = float(10 ** gen.uniform(-6, 0))
        dt = T * float(10 ** gen.uniform(0, 4))
        b = batch_size(T, dt, n)
        worst = max(worst, abs(temperature(dt, b, n) / T - 1.0))
    return worst


def _linear(w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """w . x for members w (members, d) and points x (n, d) or (members, n, d)."""
    if x.ndim == 2:
        return w["w"] @ x.T
    return torch.einsum("md,mnd->mn", w["w"], x)


def _stationary(
    x: Tensor,
    y: Tensor,
    dt: float,
    batch: int,
    time: float,
    members: int,
    seed: int = 0,
) -> Tensor:
    """(members, d) weights of linear regressions after ``time``."""
    start = {"w": torch.zeros(members, x.shape[1], dtype=F64)}
    run = stochastic_flow(
        _linear, start, x, y, 1.0, dt=dt, batch=batch, loss="square",
        max_steps=math.ceil(time / dt), stop_loss=None, check_every=10**9, seed=seed,
    )  # fmt: skip
    return run.w["w"]


@dataclass(frozen=True)
class Stationary:
    """Stationary covariances of linear regression, over pairs (dt, batch) of equal T.

    Attributes:
        pairs: (dt, batch).
        measured: one covariance matrix a pair.
        predicted: solution of H S + S H = T Sigma.
    """

    pairs: tuple[tuple[float, int], ...]
    measured: np.ndarray
    predicted: np.ndarray

    @property
    def worst(self) -> float:
        """Largest relative error of the trace over pairs."""
        traces = np.trace(self.measured, axis1=1, axis2=2)
        return float(np.abs(traces / np.trace(self.predicted) - 1.0).max())

    @property
    def shape_error(self) -> float:
        """Frobenius norm of the difference of the mean covariance, relative."""
        away = self.measured.mean(0) - self.predicted
        return float(np.linalg.norm(away) / np.linalg.norm(self.predicted))


def constant_noise(T: float = 0.004, members: int = 6000) -> Stationary:
    """A mean is learned: L = <(w - y_mu)^2>/2, whose noise does not depend on w; the
    stationary variance is T Sigma / (2 k) with k = 1."""
    n = 20
    gen = rng.numpy_generator("constant noise")
    y = torch.from_numpy(gen.standard_normal(n))
    y = (y - y.mean()) / y.std(correction=0)
    x = torch.ones(n, 1, dtype=F64)
    pairs = tuple((T / temperature(1.0, b, n), b) for b in (1, 4, 10))
    found = [
        _stationary(x, y, dt, b, 8.0, members, seed=b).numpy().T for dt, b in pairs
    ]
    measured = np.array([np.cov(rows).reshape(1, 1) for rows in found])
    return Stationary(pairs, measured, np.array([[T / 2.0]]))


def regression_noise(T: float = 0.006, members: int = 3000) -> Stationary:
    """Linear regression in two dimensions around its optimum: the covariance solves the
    Lyapunov equation H S + S H = T Sigma."""
    n = 30
    gen = rng.numpy_generator("regression noise")
    x = gen.standard_normal((n, 2)) * np.array([1.0, 0.6])
    y = x @ np.array([1.0, -0.5]) + 0.7 * gen.standard_normal(n)
    H = x.T @ x / n
    best = np.linalg.solve(H, x.T @ y / n)
    sigma = np.cov((x * (x @ best - y)[:, None]).T, bias=True)
    predicted = linalg.solve_continuous_lyapunov(H, T * sigma)
    pairs = tuple((T / temperature(1.0, b, n), b) for b in (1, 3, 10))
    slow = 1.0 / float(np.linalg.eigvalsh(H).min())
    found = [
        _stationary(
            torch.from_numpy(x), torch.from_numpy(y), dt, b, 4 * slow, members, seed=b
        )
        for dt, b in pairs
    ]
    measured = np.array([np.cov(rows.numpy().T) for rows in found])
    return Stationary(pairs, measured, predicted)


def ito_form(
    T: float = 0.3, dt: float = 0.002, members: int = 20_000, time: float = 8.0
) -> dict[str, float]:
    """Where Sigma stands: for dw = -k w dt + sqrt(T Sigma(w)) dB with Sigma = 1 + 2 w^2
    the stationary density of div(p grad L) + (T/2) d^2 (Sigma p) is
    Sigma^-1 exp(-(2/T) int k w / Sigma); between the derivatives it would be
    exp(-(2/T) int k w / Sigma).

    Returns:
        the variance ``simulated`` and those of both densities, ``ito`` and ``between``.
    """
    gen = rng.numpy_generator("ito")
    w = np.zeros(members)
    for _ in range(math.ceil(time / dt)):
        noise = np.where(gen.random(members) < 0.5, -1.0, 1.0)
        w = w - dt * w + np.sqrt(dt * T * (1.0 + 2.0 * w * w)) * noise

    def second_moment(power: float) -> float:
        # int w / (1 + 2 w^2) = log(1 + 2 w^2) / 4
        def density(v: float) -> float:
            return (1.0 + 2.0 * v * v) ** (power - 0.5 / T)

        total, _ = integrate.quad(density, -math.inf, math.inf)
        square, _ = integrate.quad(lambda v: v * v * density(v), -math.inf, math.inf)
        return square / total

    return {
        "simulated": float(np.mean(w * w)),
        "ito": second_moment(-1.0),
        "between": second_moment(0.0),
    }


@dataclass(frozen=True)
class Descents:
    """Loss curves of small networks at several (dt, batch).

    Attributes:
        labels: (T, dt, batch).
        t: (times,) a common clock.
        loss: (labels, members, times) loss on all patterns.
    """

    labels: tuple[tuple[float, float, int], ...]
    t: np.ndarray
    loss: np.ndarray

    def late(self) -> np.ndarray:
        """(labels, members) loss averaged over the second half of the run."""
        return self.loss[..., self.t > 0.5 * self.t[-1]].mean(-1)

    def excess(self, T: float) -> np.ndarray:
        """(batches, members) late loss at one temperature beyond that at T = 0, in the
        order of the labels.

        Raises:
            ValueError: no run at this temperature, or none at T = 0.
        """
        found = {0.0: [], T: []}
        for row, (temp, _, _) in zip(self.late(), self.labels, strict=True):
            if temp in found:
                found[temp].append(row)
        if T == 0.0 or not all(found.values()):
            known = sorted({temp for temp, _, _ in self.labels})
            raise ValueError(f"T must be positive and one of {known}, 0 too; got {T:g}")
        return np.array(found[T]) - found[0.0][0]


def step_effect(runs: Descents, temperatures: Sequence[float]) -> Slope:
    """What the largest step changes against the smallest at the same temperature: the
    difference of the excess loss relative to its mean, averaged over temperatures, with
    its error over members."""
    values = np.stack([runs.excess(T) for T in temperatures]).transpose(2, 0, 1)

    def effect(sample: np.ndarray) -> float:
        mean = sample.mean(0)
        return float(((mean[:, -1] - mean[:, 0]) / mean.mean(1)).mean())

    return bootstrap(values, effect, "step effect")


def power_of_temperature(runs: Descents, temperatures: Sequence[float]) -> Slope:
    """Log-log slope of the excess loss in T, at the smallest step of each, with its
    error over members."""
    values = np.stack([runs.excess(T)[0] for T in temperatures], 1)
    T = np.array(temperatures)
    return bootstrap(
        values, lambda sample: loglog_slope(T, sample.mean(0)), "power of T"
    )


def descents(
    x: Tensor,
    y: Tensor,
    temperatures: Sequence[float],
    batches: Sequence[int],
    *,
    h: int = 4,
    members: int = 48,
    time: float = 60.0,
) -> Descents:
    """Train the same small nets at pairs (dt, batch) that share their temperature.

    The nets have too few parameters to fit the patterns, so that the noise lasts.

    Args:
        x, y: training set.
        temperatures: values of T; 0 is full-batch descent.
        batches: batch sizes at every T > 0.
        h: width.
        members: nets.
        time: length of the run.
    """
    n = len(x)
    net = FullyConnected(x.shape[1], h, 1)
    w = net.init(0, members=members)
    labels = []
    for T in temperatures:
        if T == 0.0:
            labels.append((0.0, 0.02, n))
        else:
            labels += [(T, T / temperature(1.0, b, n), b) for b in batches]
    clock = np.linspace(0.0, time, 61)
    curves = []
    for T, dt, b in labels:
        run = stochastic_flow(
            net, w, x, y, 1.0, dt=dt, batch=b, loss="square", stop_loss=None,
            max_steps=math.ceil(time / dt), check_every=max(1, round(0.25 / dt)),
            seed=round(1e6 * T) + b,
        )  # fmt: skip
        rows = run.loss.numpy().T
        curves.append([np.interp(clock, run.t.numpy(), row) for row in rows])
    return Descents(tuple(labels), clock, np.array(curves))
