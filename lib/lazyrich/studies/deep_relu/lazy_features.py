r"""How hidden layers of wide ReLU networks move while the kernel stays where it is.

Two hidden layers, loss (1/2) sum_j (f(x_j) - y_j)^2, full-batch gradient descent. Inputs
have length |x|^2 = n0, so that all pre-activations are of order one.
"""

import collections
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lazyrich import data
from lazyrich.kernels import ntk, relu_ntk_correlation
from lazyrich.networks import ReluNetwork
from lazyrich.studies.deep_relu.relu_recursion import tensor
from lazyrich.studies.tools.statistics import loglog_slope

F64 = torch.float64


@dataclass(frozen=True)
class Moved:
    """Hidden layers before and after training, points first.

    Attributes:
        f0: outputs at the start, (points,).
        start, end: activations of both layers, (points, width) each.
    """

    f0: Tensor
    start: tuple[Tensor, Tensor]
    end: tuple[Tensor, Tensor]

    def change(self, layer: int) -> Tensor:
        """h_t - h_0 of layer 1 or 2, (points, width)."""
        return self.end[layer - 1] - self.start[layer - 1]


def train(
    net: ReluNetwork,
    x: Tensor,
    y: Tensor,
    *,
    t: float,
    steps: int,
    seed: int,
    device: str = "cpu",
) -> Moved:
    """Train on the first len(y) rows of ``x``; the others are only watched.

    Gradients are written out: three products with the middle matrix a step, which is
    updated in place. A width of 30000 needs 7 GB for it, best on a GPU.
    """
    w = net.init(seed, device=device)
    x, y = x.to(w["W0"].device), y.to(w["W0"].device)
    W1, W2, w3 = w["W0"], w["W1"], w["W2"][0]
    n0, n1, n2, n = net.d, *net.widths, len(y)
    rate = t / steps

    def forward(points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        a1 = points @ W1.T / math.sqrt(n0)
        h1 = a1.relu()
        a2 = h1 @ W2.T / math.sqrt(n1)
        h2 = a2.relu()
        return a1, h1, a2, h2, h2 @ w3 / math.sqrt(n2)

    _, h1, _, h2, f0 = forward(x)
    start = h1, h2
    inputs = x[:n]
    for _ in range(steps):
        a1, h1, a2, h2, f = forward(inputs)
        error = f - y
        d2 = torch.outer(error, w3) * (a2 > 0) / math.sqrt(n2)
        d1 = d2 @ W2 * (a1 > 0) / math.sqrt(n1)
        w3.add_(error @ h2, alpha=-rate / math.sqrt(n2))
        W2.addmm_(d2.T, h1, alpha=-rate / math.sqrt(n1))
        W1.addmm_(d1.T, inputs, alpha=-rate / math.sqrt(n0))
    _, h1, _, h2, _ = forward(x)
    return Moved(f0.cpu(), (start[0].cpu(), start[1].cpu()), (h1.cpu(), h2.cpu()))


# --------------------------------------------------------------------------- tokens


def text_tokens(count: int, letters: int = 300_000) -> tuple[list[str], Tensor]:
    """The most frequent words of packaged Wikipedia text, and a target for each: the
    standardised logarithm of its frequency.

    Raises:
        MissingData: the package that ships the text is not installed.
    """
    words = data.load_text("wikipedia", letters).split()
    common = collections.Counter(words).most_common(count)
    y = torch.tensor([math.log(times) for _, times in common], dtype=F64)
    return [word for word, _ in common], (y - y.mean()) / y.std()


def one_hot(count: int) -> Tensor:
    """One-hot inputs scaled to |x|^2 = n0 = count."""
    return math.sqrt(count) * torch.eye(count, dtype=F64)


Prediction = Callable[
    [np.ndarray, np.ndarray, np.ndarray, np.ndarray, float], np.ndarray
]
"""(cosines, cosines of the points with the training inputs, y, f0, gamma) -> |dh_2|^2."""


def token_table(
    y: Tensor, widths: tuple[int, int], seeds: int, t: float, steps: int,
    predicted: Prediction, device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Table 1: movements of the last hidden layer on one-hot tokens at two widths.

    Returns:
        ``table`` of (width: aggregate, mean, largest, relative) over seeds (rows), and
        the ratios that the ledger asks for.
    """
    x = one_hot(len(y))
    R0 = np.eye(len(y))
    table = {}
    for n in widths:
        rows = []
        for seed in range(seeds):
            net = ReluNetwork(len(y), (n, n))
            moved = train(net, x, y, t=t, steps=steps, seed=seed, device=device)
            change, before = moved.change(2), moved.start[1]
            norm = change.norm(dim=1)
            square = predicted(R0, R0, y.numpy(), moved.f0.numpy(), 1.0)
            rows.append([
                float(norm.square().mean().sqrt()),
                float(change.abs().mean()),
                float(change.abs().max(1).values.mean()),
                float((norm / before.norm(dim=1)).mean()),
                float(norm.square().mean().sqrt()) / math.sqrt(square.mean()),
            ])  # fmt: skip
        table[n] = np.array(rows)
    small, large = (table[n].mean(0) for n in widths)
    return {
        "table": table,
        "aggregate_ratio": small[0] / large[0],
        "mean_ratio": small[1] / large[1],
        "largest_ratio": small[2] / large[2],
        "relative_ratio": small[3] / large[3],
        "formula_small": small[4],
        "formula_large": large[4],
    }


# ------------------------------------------------------------------- a few inputs


def inputs(d: int = 8) -> tuple[Tensor, Tensor]:
    """Training inputs, uniform with |x|^2 = d, then a query half-way between the first
    and one more point; and targets.
    """
    x = data.sphere(4, d, 3)
    between = x[0] + x[3]
    x[3] = math.sqrt(d) * between / between.norm()
    return x, torch.tensor([1.0, -1.0, 0.5], dtype=F64)


def movements(
    widths: tuple[int, int], seeds: int, *, t: float, steps: int, predicted: Prediction
) -> dict[str, np.ndarray]:
    """Trained networks on three inputs and a query.

    Returns:
        by seed: ``inner``, the change of <h_2(x_1), h_2(query)>; ``cosine``, that of
        their cosine; ``cross`` and ``own``, its parts <h_0, dh'> + <dh, h_0'> and
        <dh, dh'>; and, by seed and point, ``measured`` |dh_2|^2 with its prediction
        ``coherent`` for gamma = 0 and ``full``.
    """
    x, y = inputs()
    n = len(y)
    unit = (x / x.norm(dim=1, keepdim=True)).numpy()
    cosines = np.clip(unit @ unit[:n].T, -1, 1)
    gamma = widths[1] / widths[0]
    found: dict[str, list[Any]] = collections.defaultdict(list)
    for seed in range(seeds):
        moved = train(
            ReluNetwork(x.shape[1], widths), x, y, t=t, steps=steps, seed=seed
        )
        before, after, change = moved.start[1], moved.end[1], moved.change(2)
        a, b = 0, n

        def cosine(h: Tensor, a: int = a, b: int = b) -> float:
            return float(h[a] @ h[b] / (h[a].norm() * h[b].norm()))

        cross = float(before[a] @ change[b] + change[a] @ before[b])
        own = float(change[a] @ change[b])
        found["inner"].append(float(after[a] @ after[b] - before[a] @ before[b]))
        found["cross"].append(cross)
        found["own"].append(own)
        found["cosine"].append(cosine(after) - cosine(before))
        found["measured"].append(change.square().sum(1).numpy())
        f0 = moved.f0[:n].numpy()
        for name, g in (("coherent", 0.0), ("full", gamma)):
            found[name].append(predicted(cosines[:n], cosines, y.numpy(), f0, g))
    return {name: np.array(values) for name, values in found.items()}


def ratios(found: dict[str, np.ndarray]) -> tuple[float, float]:
    """Measured over predicted |dh_2|^2, summed over seeds and points: with the full
    formula and with that for gamma = 0."""
    total = found["measured"].sum()
    return float(total / found["full"].sum()), float(total / found["coherent"].sum())


def ratio_by_point(found: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Measured over predicted |dh_2|^2, summed over seeds, for every point."""
    return found["measured"].sum(0) / found[name].sum(0)


def inner_product_numbers(
    runs: dict[int, dict[str, np.ndarray]],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Proposition 4 and its caveat, from ``movements`` by width."""
    widths = np.array(sorted(runs), dtype=float)
    inner = np.array([runs[n]["inner"].std(ddof=1) for n in sorted(runs)])
    cosine = np.array([runs[n]["cosine"].std(ddof=1) for n in sorted(runs)])
    changes = np.concatenate([r["inner"] for r in runs.values()])
    parts = max(
        float(np.abs(r["inner"] - r["cross"] - r["own"]).max()) for r in runs.values()
    )
    scaled = widths * cosine
    return (
        {
            "largest_over_smallest": float(inner[-1] / inner[0]),
            "non_zero": bool((np.abs(changes) > 1e-6).all()),
            "expansion_error": parts,
        },
        {
            "factor": float(scaled.max() / scaled.min()),
            "slope": loglog_slope(widths, cosine),
        },
    )


# ------------------------------------------------------------------ at initialisation


def one_hot_correlations(width: int = 2000, seeds: int = 16) -> dict[str, float]:
    """Correlations and kernels of orthogonal inputs, and cosines of a finite net."""
    gap_1, bar_2 = (float(v) for v in relu_ntk_correlation(tensor(1.0), 2))
    gap_2, bar_3 = (float(v) for v in relu_ntk_correlation(tensor(1.0), 3))
    x = one_hot(2)
    net = ReluNetwork(2, (width, width))
    cosines = []
    for seed in range(seeds):
        pre = net.preactivations(net.init(seed), x)
        h = [a.relu() for a in pre[:2]]
        cosines.append([float(v[0] @ v[1] / (v[0].norm() * v[1].norm())) for v in h])
    sample = np.array(cosines)
    error = sample.std(0, ddof=1) / math.sqrt(seeds)
    z = np.abs(sample.mean(0) - [1 - gap_1, 1 - gap_2]) / error
    return {
        "rho_1": 1 - gap_1, "rho_2": 1 - gap_2, "bar_2": bar_2, "bar_3": bar_3,
        "worst_z": float(z.max()),
    }  # fmt: skip


def derivatives(widths: Sequence[int], seeds: int = 12, d: int = 4) -> dict[str, Any]:
    """Example 1: derivatives of f at one input, one by one and summed up in squares."""
    x = data.sphere(1, d, 0)
    worst, largest, middle = 0.0, [], []
    for n in widths:
        net = ReluNetwork(d, (n, n))
        sums, tops, middles = [], [], []
        for seed in range(seeds):
            w = net.init(seed)
            sums.append(float(ntk(net, w, x)[0, 0]))
            top = []
            for factor in net.tangent_factors(w, x):
                d_max = 1.0 if factor.d is None else float(factor.d.abs().max())
                top.append(
                    d_max * float(factor.z.abs().max()) * math.sqrt(factor.scale)
                )
            tops.append(max(top[1:]))
            middles.append(top[1])
        error = np.std(sums, ddof=1) / math.sqrt(seeds)
        worst = max(worst, abs(np.mean(sums) - 0.75) / error)
        largest.append(np.mean(tops))
        middle.append(max(middles) * n / (20 * math.log(n)))
    return {
        "worst_z": float(worst),
        "falling": bool(np.all(np.diff(largest) < 0)),
        "middle_over_bound": float(max(middle)),
    }


def toy_network(exponents: Sequence[float], sizes: Sequence[int]) -> dict[str, float]:
    """Fig. 1: norms of layers of equal activations n^(-a), and all paths of a linear
    network together against a single one; largest relative errors."""
    norm_error = path_error = 0.0
    for n in sizes:
        for a in exponents:
            h = np.full(n, float(n) ** -a)
            norm_error = max(norm_error, abs(np.linalg.norm(h) / n ** (0.5 - a) - 1))
        # f = 1^T 1_{n x n} 1 x / sqrt(n n) from one input to one output, all weights one
        ones = np.ones(n)
        total = float((ones / math.sqrt(n)).sum() * (ones / math.sqrt(n)).sum())
        path_error = max(path_error, abs(total / n - 1))
    return {"norm_error": norm_error, "path_error": path_error}
