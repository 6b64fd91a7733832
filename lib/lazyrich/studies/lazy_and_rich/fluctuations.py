r"""Fluctuations of the predictor over initialisations, and ensembles (geiger2020, Sec. 4).

Nets of equal width that start from different weights learn different predictors
F = alpha (f - f0). Their variance over initialisations falls as 1/h in both regimes
(Eqs. 7-8), and averaging the predictors of an ensemble removes it.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lazyrich import sweeps
from lazyrich.core import check, rng
from lazyrich.dynamics import hinge_path, momentum_flow
from lazyrich.kernels import ntk
from lazyrich.networks import FullyConnected
from lazyrich.studies.lazy_and_rich import alpha_sweep
from lazyrich.studies.lazy_and_rich.alpha_sweep import by_regime
from lazyrich.studies.tools import digits, statistics, tables
from lazyrich.studies.tools.digits import Digits, load_data, network, test_error

LAPTOP_SETTINGS = digits.SMALL

PAPER_SETTINGS = replace(digits.PAPER, n_test=10_000)
"""One set of test points for trained nets and frozen kernels."""


@dataclass(frozen=True)
class Widths:
    """Which widths the chapter compares.

    Attributes:
        narrow: of the ensembles that stand against one wide net.
        wide: of that net; narrow to wide is the range of "independent of the width".
        fit_from: the least width in fits of Eq. 8; narrower nets deviate.
        averaged: over which the ratio of the regimes is averaged.
    """

    narrow: int
    wide: int
    fit_from: int
    averaged: tuple[int, ...]


WIDTHS = {
    "laptop": Widths(narrow=32, wide=256, fit_from=64, averaged=(64, 128)),
    "paper": Widths(narrow=100, wide=800, fit_from=100, averaged=(100, 200, 400, 800)),
}

FLUCTUATIONS = sweeps.register(
    sweeps.Study(
        name="fluctuations",
        title="Ensembles of equal width over sqrt(h) alpha",
        version=1,
        scales={
            "laptop": by_regime(sweeps.Scale(
                grid={
                    "h": (32, 64, 128),
                    "alpha_mf": (1e-1, 1.0, 1e1),
                    "seed": tuple(range(8)),
                },
                settings=LAPTOP_SETTINGS,
            )),
            "paper": by_regime(sweeps.Scale(
                grid={
                    "h": (50, 100, 200, 400, 800),
                    "alpha_mf": (1e-1, 1.0, 1e1, 1e2, 1e3, 1e6),
                    "seed": tuple(range(20)),
                },
                settings=PAPER_SETTINGS,
            )),
        },
        measure=alpha_sweep.measure,
        chunk_axes=("alpha_mf", "seed"),
        cost=alpha_sweep.cost,
        chunk_size={"cpu": 4, "cuda": 64},
    )
)  # fmt: skip

FEATURE = sweeps.register(
    sweeps.Study(
        name="feature_ensembles",
        title="Large ensembles in the feature regime, over widths",
        version=1,
        scales={
            "laptop": by_regime(sweeps.Scale(
                grid={
                    "h": (32, 64, 128, 256), "alpha_mf": (1e-2,),
                    "seed": tuple(range(20)),
                },
                settings=LAPTOP_SETTINGS,
            )),
            "paper": by_regime(sweeps.Scale(
                grid={
                    "h": (50, 100, 200, 400, 800, 1600), "alpha_mf": (1e-2,),
                    "seed": tuple(range(26)),
                },
                settings=PAPER_SETTINGS,
            )),
        },
        measure=alpha_sweep.measure,
        chunk_axes=("alpha_mf", "seed"),
        cost=alpha_sweep.cost,
        chunk_size={"cpu": 4, "cuda": 26},
    )
)  # fmt: skip


def measure_frozen(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """The lazy limit of the members of a chunk: exact hinge flow of the kernel at w0, on
    the first ``n`` examples if the grid has such an axis."""
    settings = chunk.typed(Digits)
    task = load_data(settings, chunk.device)
    n = settings.n or settings.n_train
    x, y = task.x_train[:n], task.y_train[:n]
    net = network(chunk.shared("h"), settings)
    w = net.init(chunk.axis("seed").tolist(), dtype=x.dtype, device=x.device)
    flow = hinge_path(
        ntk(net, w, x), y, ntk(net, w, task.x_test, x), stop_loss=settings.stop_loss
    )
    F_test = flow.end("F_test")
    table = tables.of_flow(chunk, flow, ("status", "t1", "t_end", "steps"), task.source)
    return table.rename(steps="events").assign(
        test_error=("member", test_error(F_test, task.y_test.cpu()).numpy()),
        F_test=(("member", "test_example"), F_test.numpy().astype("float32")),
    )


FROZEN = sweeps.register(
    sweeps.Study(
        name="frozen_ensembles",
        title="Ensembles in the lazy limit, over widths",
        version=1,
        scales={
            "laptop": sweeps.Scale(
                grid={"h": (16, 32, 64, 128, 256, 512), "seed": tuple(range(20))},
                settings=LAPTOP_SETTINGS,
            ),
            "paper": sweeps.Scale(
                grid={"h": (50, 100, 200, 400, 800, 1600), "seed": tuple(range(26))},
                settings=PAPER_SETTINGS,
            ),
        },
        measure=measure_frozen,
        chunk_axes=("seed",),
        cost=lambda member, scale: (
            0.3 * (Digits.of(scale.settings).n_train / 300.0) ** 2.5
            * (1.0 + float(member["h"]) / 500.0)
        ),
        chunk_size={"cpu": 5, "cuda": 4},
    )
)  # fmt: skip


FROZEN_BY_N = sweeps.register(
    sweeps.Study(
        name="frozen_by_n",
        title="Fluctuations in the lazy limit, over widths and numbers of examples",
        version=1,
        scales={
            "laptop": sweeps.Scale(
                grid={
                    "n": (40, 100, 300), "h": (16, 32, 64, 128, 256, 512, 1024),
                    "seed": tuple(range(20)),
                },
                settings=replace(digits.SMALL, n_train=300, n_test=400),
            ),
            "paper": sweeps.Scale(
                grid={
                    "n": (100, 300, 1000), "h": (50, 100, 200, 400, 800, 1600),
                    "seed": tuple(range(26)),
                },
                settings=replace(digits.PAPER, n_train=1000, n_test=10_000),
            ),
        },
        measure=measure_frozen,
        chunk_axes=("seed",),
        cost=lambda member, scale: (
            0.02 + 0.08 * (float(member["n"]) / 300.0) ** 2.5
            + 1e-7 * float(member["h"]) ** 2
        ),
        chunk_size={"cpu": 5, "cuda": 26},
    )
)  # fmt: skip


# ------------------------------------------------------------------ statistics


def variance(F: np.ndarray) -> float:
    """Var F = <(F_i(x) - mean F(x))^2> over members i and points x (Eq. 7), unbiased.

    Args:
        F: predictors (members, points), alpha (f(w) - f(w0)) and not alpha f: the
            function at the start would add alpha^2 times its own variance.

    Raises:
        ValueError: fewer than two members.
    """
    check.positive_int("number of members", len(F), least=2)
    return float(np.asarray(F, dtype=float).var(axis=0, ddof=1).mean())


def error_of(F: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of points (last axis) on the wrong side."""
    return np.asarray(F * y <= 0.0, dtype=float).mean(-1)


def ensemble_error(F: np.ndarray, y: np.ndarray) -> float:
    """Test error of the averaged predictor of all members; the average is taken over F,
    not over its signs."""
    return float(error_of(np.asarray(F, dtype=float).mean(0), y))


def variances(table: xr.Dataset) -> xr.DataArray:
    """Eq. 7 for every cell of a table of ensembles, over all axes but ``seed``."""
    F = table["F_test"].astype("float64")
    return F.var("seed", ddof=1).mean("test_example").rename("variance")


def ensemble_errors(table: xr.Dataset, y: np.ndarray) -> xr.DataArray:
    """Test error of the averaged predictor of every cell."""
    mean = table["F_test"].astype("float64").mean("seed")
    sign = xr.DataArray(y, dims="test_example")
    return (mean * sign <= 0).mean("test_example").rename("ensemble_error")


def slope_of_variance(table: xr.Dataset, draws: int = 400) -> statistics.Slope:
    """Log-log slope of the variance in the width with its bootstrap error over seeds.

    Seeds are drawn afresh at each width: members of different widths share nothing.

    Args:
        table: ``F_test`` over ``h``, ``seed`` and test points.
    """
    F = table["F_test"].transpose("h", "seed", "test_example").values.astype(float)
    log_h = np.log(table["h"].values.astype(float))
    m = F.shape[1]
    gram = F @ F.transpose(0, 2, 1) / F.shape[2]

    def slope(counts: np.ndarray) -> float:
        # Eq. 7 of members that occur counts[h, i] times, from their inner products
        own = np.einsum("hi,hii->h", counts, gram)
        mean = np.einsum("hi,hij,hj->h", counts, gram, counts) / m
        return float(np.polyfit(log_h, np.log((own - mean) / (m - 1)), 1)[0])

    gen = rng.numpy_generator("bootstrap", "slope of variance")
    found = [
        slope(gen.multinomial(m, np.full(m, 1.0 / m), size=len(F)).astype(float))
        for _ in range(draws)
    ]
    # a draw with repetitions has a smaller variance by (m - 1) / m
    error = float(np.std(found)) * math.sqrt(m / (m - 1))
    return statistics.Slope(slope(np.ones((len(F), m))), error)


def variance_slopes(
    table: xr.Dataset, windows: Iterable[tuple[float, float]]
) -> dict[tuple[float, float], statistics.Slope]:
    """``slope_of_variance`` for every window (low, high) of widths."""
    return {
        (low, high): slope_of_variance(statistics.window(table, low, high, "h"))
        for low, high in windows
    }


def width_windows(widths: Sequence[float]) -> list[tuple[float, float]]:
    """All windows from some width to the widest, and those between neighbours."""
    low = [float(h) for h in widths]
    return sorted({*((h, low[-1]) for h in low[:-1]), *pairwise(low)})


def subset_errors(
    F: np.ndarray, y: np.ndarray, members: int, draws: int = 200
) -> np.ndarray:
    """Test errors of ``draws`` random ensembles of some members, (draws,).

    Args:
        F: predictors (all members, points).
        y: labels (points,).
        members: size of an ensemble.

    Raises:
        ValueError: fewer members at hand than asked for.
    """
    if members > len(F):
        raise ValueError(f"members must be at most {len(F)}, got {members}")
    gen = rng.numpy_generator("ensembles", "subsets")
    picked = (gen.permutation(len(F))[:members] for _ in range(draws))
    return np.array([ensemble_error(F[rows], y) for rows in picked])


def jackknife(
    F: np.ndarray, y: np.ndarray, statistic: Callable[[np.ndarray, np.ndarray], float]
) -> tuple[float, float]:
    """A statistic of an ensemble with its jackknife error over members.

    (A bootstrap would repeat members, and an ensemble with repetitions has a larger
    variance left.)

    Args:
        F: predictors (members, points).
        y: labels (points,).
        statistic: of predictors and labels.
    """
    m = check.positive_int("number of members", len(F), least=2)
    rest = [statistic(np.delete(F, k, axis=0), y) for k in range(m)]
    return statistic(F, y), float(np.std(rest)) * math.sqrt(m - 1)


def excess_error(F: np.ndarray, y: np.ndarray) -> float:
    """Mean test error of the members above that of their average."""
    return float(error_of(F, y).mean()) - ensemble_error(F, y)


def slope_with_errors(
    x: np.ndarray, y: np.ndarray, errors: np.ndarray
) -> statistics.Slope:
    """Least-squares slope of y against x for independent points with known errors."""
    away = x - x.mean()
    weights = away / np.square(away).sum()
    return statistics.Slope(
        float(weights @ y), float(np.sqrt(np.square(weights * errors).sum()))
    )


def error_ratio(
    lazy: Sequence[np.ndarray],
    feature: Sequence[np.ndarray],
    y: np.ndarray,
    draws: int = 1000,
) -> tuple[float, float, float]:
    """Ensemble-averaged error of the lazy over that of the feature regime (Fig. 2c).

    Args:
        lazy, feature: predictors (members, points), one array a width; their ensemble
            errors are averaged over widths.
        y: labels (points,).
        draws: bootstrap draws over members and points at once.

    Returns:
        the ratio and the ends of its central 95 % interval.
    """
    gen = rng.numpy_generator("bootstrap", "error ratio")

    def one(rows: Sequence[np.ndarray], points: np.ndarray, resample: bool) -> float:
        errors = []
        for F in rows:
            members = gen.integers(len(F), size=len(F)) if resample else slice(None)
            mean = F[members].mean(0, dtype=float)[points]
            errors.append(error_of(mean, y[points]))
        return float(np.mean(errors))

    everything = np.arange(len(y))
    ratio = one(lazy, everything, False) / one(feature, everything, False)
    found = []
    for _ in range(draws):
        points = gen.integers(len(y), size=len(y))
        found.append(one(lazy, points, True) / one(feature, points, True))
    low, high = np.percentile(found, [2.5, 97.5])
    return ratio, float(low), float(high)


# ------------------------------------------------------------------ further questions


def mean_field_form(d: int = 3, h: int = 200, seed: int = 0) -> dict[str, float]:
    """Eqs. 2-3: f = (1/h) sum_i c_i sigma(a_i . x + b_i) as an integral over the empirical
    measure of its neurons.

    Returns:
        relative mismatches: ``weighted``, of the sum against an integral over distinct
        particles with weights; ``permuted`` and ``replicated``, of the net after neurons
        were shuffled, or each was doubled; ``replicated_ntk``, the same with the factor
        h^(-1/2), for which f is no function of the measure.
    """
    gen = rng.numpy_generator("mean field form", seed)
    x = gen.standard_normal((50, d))
    kinds = 7  # distinct neurons, so that the measure has weights to speak of
    a, b = gen.standard_normal((kinds, d)), gen.standard_normal(kinds)
    c = gen.standard_normal(kinds)
    which = gen.integers(kinds, size=h)

    def net(order: np.ndarray, power: float = 1.0) -> np.ndarray:
        terms = c[order] * np.tanh(x @ a[order].T + b[order])
        return terms.sum(1) / len(order) ** power

    f = net(which)
    weights = np.bincount(which, minlength=kinds) / h
    integral = (c * np.tanh(x @ a.T + b)) @ weights
    size = np.abs(f).max()

    def off(other: np.ndarray, one: np.ndarray = f) -> float:
        return float(np.abs(other - one).max() / np.abs(one).max())

    half = net(which, 0.5)
    assert size > 0
    return {
        "weighted": off(integral),
        "permuted": off(net(gen.permutation(which))),
        "replicated": off(net(np.repeat(which, 2))),
        "replicated_ntk": off(net(np.repeat(which, 2), 0.5), half),
    }


def estimator_check(members: int = 20, draws: int = 200) -> tuple[float, float, float]:
    """Eq. 7 on synthetic ensembles of known variance 0.7.

    Returns:
        mean of the estimator over ``draws`` ensembles, its standard error, and the
        variance that was put in.
    """
    gen = rng.numpy_generator("variance estimator")
    true = 0.7
    found = []
    for _ in range(draws):
        mean = gen.standard_normal(50)
        noise = gen.standard_normal((members, 50)) * math.sqrt(true)
        found.append(variance(mean + noise))
    return float(np.mean(found)), float(np.std(found) / math.sqrt(draws)), true


def kernel_noise(
    x: Tensor, y: Tensor, x_test: Tensor, widths: Sequence[int], seeds: int, L: int = 2
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sec. 4: fluctuations of F = Theta_te Theta_tr^-1 y follow those of the kernel.

    To first order in dTheta, the deviation of a net's kernel from the mean over nets,
    dF = dTheta_te Theta_tr^-1 y - Theta_te Theta_tr^-1 dTheta_tr Theta_tr^-1 y.

    Returns:
        (seeds, widths) mean squares of the exact dF; (seeds, widths) squares of dTheta
        over that of the mean kernel; and, over widths, the share of the variance of dF
        that the first order leaves unexplained.
    """
    output, kernel, left = [], [], []
    for h in widths:
        net = FullyConnected(x.shape[1], h, L)
        w = net.init(0, members=seeds)
        train, cross = ntk(net, w, x), ntk(net, w, x_test, x)
        mean_train, mean_cross = train.mean(0), cross.mean(0)
        c = torch.linalg.solve(mean_train, y)
        F0 = mean_cross @ c
        exact = torch.einsum("mpn,mn->mp", cross, torch.linalg.solve(train, y)) - F0
        d_train, d_cross = train - mean_train, cross - mean_cross
        back = torch.linalg.solve(mean_train, (d_train @ c).mT)
        first = d_cross @ c - (mean_cross @ back).mT
        output.append(exact.square().mean(1).numpy())
        size = d_train.square().sum((1, 2)) / mean_train.square().sum()
        kernel.append(size.numpy())
        left.append(float((exact - first).square().sum() / exact.square().sum()))
    return np.array(output).T, np.array(kernel).T, np.array(left)


def slope_of_rms(squares: np.ndarray, widths: Sequence[int]) -> statistics.Slope:
    """Log-log slope in the width of the root mean square over seeds, with its bootstrap
    error.

    Args:
        squares: (seeds, widths) squared deviations.
        widths: of the columns.
    """
    h = np.array(widths, dtype=float)

    def slope(sample: np.ndarray) -> float:
        return statistics.loglog_slope(h, np.sqrt(sample.mean(0)))

    return statistics.bootstrap(squares, slope, "slope of rms")


def measure_threshold(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """How many margins of n patterns are still violated when training ends."""
    settings, h = chunk.typed(Digits), int(chunk.shared("h"))
    task, n = load_data(settings, chunk.device), settings.need("n")
    x, y = task.x_train[:n], task.y_train[:n]
    net = network(h, settings)
    flow = momentum_flow(
        net,
        net.init(chunk.axis("seed").tolist(), dtype=x.dtype, device=x.device),
        x,
        y,
        settings.need("alpha_mf") / math.sqrt(h),
        mu=settings.mu,
        max_steps=settings.max_steps,
        checkpoint=checkpoint,
    )
    violated = (flow.end("F") * y.cpu() < 1.0 - 1e-9).double().mean(1)
    kept = ("status", "loss_end", "steps")
    return tables.of_flow(chunk, flow, kept, task.source).assign(
        violated=("member", violated.numpy()),
        parameters=("member", np.full(len(chunk), net.n_params)),
    )


THRESHOLD = sweeps.register(
    sweeps.Study(
        name="fitting_threshold",
        title="Which widths can fit n patterns",
        version=2,
        scales={
            "laptop": sweeps.Scale(
                grid={
                    "n": (50, 100, 200),
                    "h": (1, 2, 3, 4, 5, 6, 7, 8, 10),
                    "seed": tuple(range(6)),
                },
                settings=replace(
                    digits.SMALL, n_train=200, alpha_mf=1.0, mu=30.0, stop_loss=0.0,
                    max_steps=5000,
                ),
            ),
            "paper": sweeps.Scale(
                grid={
                    "n": (100, 200, 400, 800, 1600),
                    "h": (3, 4, 6, 8, 12, 16, 24, 32, 48),
                    "seed": tuple(range(10)),
                },
                settings=replace(
                    digits.SMALL, n_train=1600, alpha_mf=1.0, mu=30.0, stop_loss=0.0,
                    max_steps=100_000,
                ),
            ),
        },
        measure=measure_threshold,
        chunk_axes=("seed",),
        cost=lambda member, scale: 1.5e-4 * Digits.of(scale.settings).max_steps,
        chunk_size={"cpu": 6, "cuda": 10},
    )
)  # fmt: skip


def fitted_share(table: xr.Dataset, max_steps: float = math.inf) -> xr.DataArray:
    """Whether each net fitted its patterns within ``max_steps``, over all axes."""
    return ((table["violated"] == 0) & (table["steps"] <= max_steps)).astype(float)


def threshold_width(h: np.ndarray, share: np.ndarray, level: float = 0.5) -> float:
    """The width at which a share ``level`` of the nets fit, by interpolation of the
    share against log h; NaN if the grid does not bracket it.

    Args:
        h: (widths,), increasing.
        share: (widths,) fitted shares.
        level: between 0 and 1.
    """
    above = np.flatnonzero(share >= level)
    if not len(above) or above[0] == 0:
        return math.nan
    k = int(above[0])
    part = (level - share[k - 1]) / (share[k] - share[k - 1])
    return float(np.exp((1.0 - part) * np.log(h[k - 1]) + part * np.log(h[k])))


def threshold_power(fitted: xr.DataArray, d: int) -> statistics.Slope:
    """The power of n with which the number of parameters grows at the threshold, for
    nets of two hidden layers and ``d`` inputs, with its bootstrap error over seeds.

    Args:
        fitted: 0 or 1 over ``n``, ``h`` and ``seed``.
    """
    h, n = (fitted[axis].values.astype(float) for axis in ("h", "n"))

    def power(sample: np.ndarray) -> float:
        at = np.array([threshold_width(h, share) for share in sample.mean(0)])
        return statistics.loglog_slope(n, at**2 + (d + 3.0) * at + 1.0)

    values = fitted.transpose("seed", "n", "h").values
    return statistics.bootstrap(values, power, "fitting threshold")
