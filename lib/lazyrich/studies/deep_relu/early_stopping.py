r"""Measurements on predictions of the deep ReLU tangent kernel, at any training time.

Time t is that of the *summed* square loss, as in the source of these chapters,

    f_t(x) = f_0(x) + K(x, X) K^{-1} (I - e^{-tK}) (y - f_0(X)),

which is ``kernels.kernel_predict`` at time N t. Kernels are normalised; their rows for a
query times the operator are the *weights* of the training points in the prediction.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from torch import Tensor

from lazyrich import data
from lazyrich.core.rng import generator
from lazyrich.data import Dataset
from lazyrich.kernels import (
    abel_constant,
    kernel_predict,
    relu_ntk,
    relu_ntk_any_depth,
)
from lazyrich.studies.deep_relu.depth_limit import gaps_of, kernel_matrix
from lazyrich.studies.deep_relu.relu_recursion import circle

F64 = torch.float64


def weights(k_train: Tensor, k_test: Tensor, t: float = math.inf) -> Tensor:
    """K(x, X) K^{-1} (I - exp(-t K)): rows of prediction weights, (m, n)."""
    n = len(k_train)
    eye = torch.eye(n, dtype=k_train.dtype)
    return kernel_predict(k_train, k_test, eye, t=t * n)


def operator(k: Tensor, t: float) -> Tensor:
    """K^{-1} (I - exp(-t K)) as a matrix, by its eigenvalues."""
    return weights(k, torch.eye(len(k), dtype=k.dtype), t)


def phi(t: float, s: Tensor) -> Tensor:
    """(1 - exp(-t s))/s, and t at s = 0."""
    safe = torch.where(s > 0, s, 1.0)
    return torch.where(s > 0, -torch.expm1(-t * safe) / safe, t)


def sphere(n: int, d: int, *key: int) -> Tensor:
    """n uniform points on the unit sphere of R^d."""
    seed = sum(k * 1009**i for i, k in enumerate(key))
    return data.sphere(n, d, seed, radius=1.0)


def _normal(name: str, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(f"deep-relu/{name}"), dtype=F64)


# ----------------------------------------------------------- the flow and its solution


def _solve(k: Tensor, y: Tensor, f0: Tensor, t: float, method: str) -> np.ndarray:
    """Outputs at time t of df/dt = -K (f - y) for training points and queries alike.

    ``k`` has the training points in its first len(y) columns; rows are all points.
    """
    matrix, target = k.numpy(), y.numpy()
    n = len(target)
    found = solve_ivp(
        lambda _, f: -matrix @ (f[:n] - target), (0, t), f0.numpy(),
        method=method, rtol=1e-11, atol=1e-13,
    )  # fmt: skip
    return found.y[:, -1]


def regression_limit() -> dict[str, float]:
    """Proposition 3: regression formula against the flow at t = 50/lambda_min, with a
    random f_0, and the weights at training points against unit vectors."""
    x, query = sphere(20, 5, 1), sphere(6, 5, 2)
    k, cross = kernel_matrix(x, 4), kernel_matrix(query, 4, x)
    y, f0 = _normal("prop3-y", 20), _normal("prop3-f0", 26)
    smallest = float(torch.linalg.eigvalsh(k)[0])
    flow = _solve(torch.cat([k, cross]), y, f0, 50 / smallest, "LSODA")
    formula = f0[20:] + kernel_predict(k, cross, y - f0[:20])
    off = np.abs(flow[20:] - formula.numpy()).max() / np.abs(flow).max()
    at_points = weights(k, k) - torch.eye(20, dtype=F64)
    return {"flow_error": float(off), "unit_vectors_off": float(at_points.abs().max())}


def early_stopped(
    oracle: Callable[[float, int], float],
) -> dict[str, float]:
    """Proposition 6: formula against an integrator at t = 7 (N = 12 on S^3, depth 4),
    and weights of a circle configuration against matrix exponentials of the oracle."""
    x, query = sphere(12, 4, 3), sphere(5, 4, 4)
    k, cross = kernel_matrix(x, 4), kernel_matrix(query, 4, x)
    y, f0 = _normal("prop6-y", 12), _normal("prop6-f0", 17)
    flow = _solve(torch.cat([k, cross]), y, f0, 7.0, "DOP853")
    formula = f0[12:] + kernel_predict(k, cross, y - f0[:12], t=7.0 * 12)
    worst = 0.0
    angle = torch.tensor([[math.cos(0.1), math.sin(0.1)]], dtype=F64)
    points = circle(5)
    for depth in (3, 30):
        rho = np.clip((points @ points.T).numpy(), -1, 1)
        np.fill_diagonal(rho, 1.0)
        m = np.vectorize(oracle)(rho, depth)
        row = np.vectorize(oracle)((angle @ points.T).numpy(), depth)
        for t in (1.0, 10.0, math.inf):
            decay = expm(-t * m) if math.isfinite(t) else np.zeros_like(m)
            right = np.linalg.solve(m, (np.eye(5) - decay).T @ row.T).T
            got = weights(
                kernel_matrix(points, depth), kernel_matrix(angle, depth, points), t
            )
            worst = max(worst, float(np.abs(got.numpy() - right).max()))
    return {
        "flow_error": float(np.abs(flow[12:] - formula.numpy()).max()),
        "weights_error": worst,
    }


def eigenvalue_map() -> dict[str, Any]:
    """K^{-1}(I - e^{-tK}) by matrix exponentials against phi_t of the eigenvalues; the
    two eigenvalues of the deep limit; bounds and monotony."""
    worst = 0.0
    for trial in range(20):
        a = _normal(f"psd-{trial}", 15, 20)
        k = a @ a.T / 20
        for t in (0.1, 1.0, 10.0):
            right = np.linalg.solve(k.numpy(), np.eye(15) - expm(-t * k.numpy()))
            off = np.abs(operator(k, t).numpy() - right).max() / np.abs(right).max()
            worst = max(worst, float(off))
    n, t = 40, 1.7
    limit = torch.linalg.eigvalsh(operator(limit_matrix(n), t))
    expected = [
        4 / (n + 3) * -math.expm1(-t * (n + 3) / 4),
        4 / 3 * -math.expm1(-0.75 * t),
    ]
    s = torch.linspace(0, 50, 2001, dtype=F64)
    values = phi(t, s)
    bound = torch.minimum(torch.full_like(s, t), 1 / s)
    return {
        "map_error": worst,
        "limit_error": max(
            abs(float(limit[0]) - expected[0]),
            float((limit[1:] - expected[1]).abs().max()),
        ),
        "decreasing": bool((values.diff() < 0).all()),
        "bounded": bool((values <= bound * (1 + 1e-15)).all()),
        "at_zero": float(values[0]) - t,
    }


def limit_matrix(n: int) -> Tensor:
    """(3/4) I + (1/4) 1 1^T: the kernel matrix of n points at infinite depth."""
    return 0.75 * torch.eye(n, dtype=F64) + 0.25


def limit_spectrum(sizes: Sequence[int]) -> dict[str, float]:
    """Eigenvalues 3/4 and (N+3)/4 of the limit, relative to the largest, and how far the
    product with the closed inverse is from the unit matrix."""
    values = inverse = 0.0
    for n in sizes:
        s = torch.linalg.eigvalsh(limit_matrix(n))
        expected = torch.full((n,), 0.75, dtype=F64)
        expected[-1] = (n + 3) / 4
        values = max(values, float(((s - expected) / s[-1]).abs().max()))
        closed = 4 / 3 * (torch.eye(n, dtype=F64) - 1 / (n + 3))
        product = limit_matrix(n) @ closed - torch.eye(n, dtype=F64)
        inverse = max(inverse, float(product.abs().max()))
    return {"eigenvalue_error": values, "inverse_error": inverse}


def time_scale() -> dict[str, Any]:
    """Remark 1: which time belongs to which loss and kernel, and the largest step of
    gradient descent on a deep kernel."""
    n = 15
    x, query = sphere(n, 5, 5), sphere(4, 5, 6)
    k, cross, y = kernel_matrix(x, 5), kernel_matrix(query, 5, x), _normal("r1", n)
    t = 3.0
    # summed loss, in time t, by matrix exponentials
    summed = cross.numpy() @ np.linalg.solve(
        k.numpy(), (np.eye(n) - expm(-t * k.numpy())) @ y.numpy()
    )
    mean = kernel_predict(k, cross, y, t=n * t)
    scaled = kernel_predict(k / 8, cross / 8, y, t=8 * n * t)
    deep = kernel_matrix(x, 10**9)
    largest = {}
    for name, step in (("below", 7.6 / (n + 3)), ("above", 8.4 / (n + 3))):
        f = torch.zeros(n, dtype=F64)
        for _ in range(400):
            f = f - step * deep @ (f - y)
        largest[name] = float((f - y).abs().max())
    ones = torch.ones(n, dtype=F64)
    learned = kernel_predict(deep, deep, ones, t=n * 4 / (n + 3))
    return {
        "loss_error": float(np.abs(mean.numpy() - summed).max()),
        "kernel_error": float((scaled - mean).abs().max()),
        "mean_left": float((1 - learned).mean()),
        "converges_below": largest["below"] < 1e-6,
        "diverges_above": largest["above"] > 1e3,
    }


# --------------------------------------------------------------- the predictor in depth


def collapse_of_weights(depths: Sequence[int], n: int = 30, d: int = 6) -> np.ndarray:
    """Largest |weight - 1/(N+3)| for one query, by depth."""
    x, query = sphere(n, d, 7), sphere(1, d, 8)
    found = []
    for depth in depths:
        row = weights(kernel_matrix(x, depth), kernel_matrix(query, depth, x))[0]
        found.append(float((row - 1 / (n + 3)).abs().max()))
    return np.array(found)


def first_order_residuals(depths: Sequence[int], n: int = 25, d: int = 6) -> np.ndarray:
    """L times the largest difference of the weights from their expansion to 1/L,

    p_c 1 + (1/L) M^{-1} (b - B p_0), with B_ij = C(x_i.x_j)/4 - 3/8, b alike for the
    query, p_0 = 1/(N+3), and the common logarithm in c = 1/4 + 3 log L/(8 L).
    """
    x, query = sphere(n, d, 9), sphere(1, d, 10)
    gap = gaps_of(x).fill_diagonal_(1.0)
    B = (abel_constant(gap) / 4 - 0.375).fill_diagonal_(0.0)
    b = abel_constant(gaps_of(query, x))[0] / 4 - 0.375
    p0 = torch.full((n,), 1 / (n + 3), dtype=F64)
    correction = torch.linalg.solve(limit_matrix(n), b - B @ p0)
    found = []
    for depth in depths:
        row = weights(kernel_matrix(x, depth), kernel_matrix(query, depth, x))[0]
        c = 0.25 + 3 * math.log(depth) / (8 * depth)
        expected = c / (1 - c + n * c) + correction / depth
        found.append(depth * float((row - expected).abs().max()))
    return np.array(found)


def with_neighbour(
    eta: float, n: int = 40, d: int = 5, seed: int = 11
) -> tuple[Tensor, Tensor]:
    """n points of the sphere, well apart, and a query at angle ``eta`` from the first."""
    x = separated(n, d, 0.35, seed)
    across = sphere(1, d, seed + 1)[0]
    across = across - (across @ x[0]) * x[0]
    across = across / across.norm()
    return x, (math.cos(eta) * x[0] + math.sin(eta) * across)[None, :]


def neighbour_weights(eta: float, depths: Sequence[int]) -> np.ndarray:
    """Weights of all points for a query close to the first, (depths, n)."""
    x, query = with_neighbour(eta)
    gap, cross = gaps_of(x), gaps_of(query, x)
    # the small angle is known, its cosine is not
    cross[0, 0] = 2 * math.sin(eta / 2) ** 2
    found = []
    for depth in depths:
        k, row = (relu_ntk_any_depth(g, depth)[1] for g in (gap, cross))
        found.append(torch.linalg.solve(k, row[0]).numpy())
    return np.array(found)


def neighbour_deviation(
    eta: float, depths: Sequence[int], law: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float]:
    """Largest differences of the weights from w + (1-w)/(N+3) and (1-w)/(N+3)."""
    found = neighbour_weights(eta, depths)
    w = law(np.array(depths) * eta / (3 * math.pi))[:, None]
    rest = (1 - w) / (found.shape[1] + 3)
    return {
        "first": float(np.abs(found[:, :1] - w - rest).max()),
        "others": float(np.abs(found[:, 1:] - rest).max()),
    }


def half_weight_depth(eta: float) -> float:
    """eta times the depth at which the neighbour's weight falls to 1/2, interpolated."""
    guess = 4.4 / eta
    depths = np.unique(np.linspace(0.8 * guess, 1.2 * guess, 41).astype(int))
    first = neighbour_weights(eta, depths.tolist())[:, 0]
    return eta * float(np.interp(0.5, first[::-1], depths[::-1]))


def separated(n: int, d: int, delta: float, seed: int = 0) -> Tensor:
    """n random points on the sphere, all at least ``delta`` apart (close ones rejected).

    Raises:
        ValueError: no room for them after 200 n draws.
    """
    candidates = sphere(200 * n, d, seed)
    kept = candidates[:1]
    for point in candidates[1:]:
        if len(kept) == n:
            return kept
        if float((kept @ point).max()) <= math.cos(delta):
            kept = torch.cat([kept, point[None]])
    raise ValueError(
        f"delta must leave room for {n} points in dimension {d}, got {delta}"
    )


def row_bound(trials: int = 300) -> float:
    """Largest |weights| over min(c sqrt t, lambda_min^(-1/2)) in random configurations.

    c = max (1 - e^-u)/sqrt(u). Times run from 0.01 to 10^4, half of the queries lie
    close to a training point.
    """
    u = 1.2564312086261697
    c = -math.expm1(-u) / math.sqrt(u)
    gen = generator("deep-relu/row-bound")
    worst = 0.0
    for trial in range(trials):
        draw = torch.rand(5, generator=gen, dtype=F64)
        n, d = 2 + int(38 * draw[0]), 2 + int(8 * draw[1])
        depth = 2 + int(28 * draw[2])
        t = 10 ** float(6 * draw[3] - 2)
        x, query = sphere(n, d, 100 + trial), sphere(1, d, 500 + trial)
        if trial % 2:
            query = x[:1] + 10 ** float(-3 * draw[4]) * query
            query = query / query.norm()
        k = relu_ntk(x, depth=depth, normalised=True)[1]
        row = weights(k, relu_ntk(query, x, depth=depth, normalised=True)[1], t)
        bound = c * math.sqrt(t)
        smallest = float(torch.linalg.eigvalsh(k)[0])
        if smallest > 1e-10:
            bound = min(bound, smallest**-0.5)
        worst = max(worst, float(row.norm()) / bound)
    return worst


# ------------------------------------------------------------------------- Theorem 3


def pointwise_collapse(depths: Sequence[int], n: int = 30, d: int = 6) -> float:
    """Largest of (|entry - 1/4| L/log L) over its bound 3/8 + B_max/log L + 0.05."""
    x, query = sphere(n, d, 12), sphere(10, d, 13)
    cross = gaps_of(query, x)
    B = float((abel_constant(cross) / 4 - 0.375).max())
    worst = 0.0
    for depth in depths:
        off = float((relu_ntk_any_depth(cross, depth)[1] - 0.25).abs().max())
        scaled = off * depth / math.log(depth)
        worst = max(worst, scaled / (0.375 + B / math.log(depth) + 0.05))
    return worst


def separated_data(
    depths: Sequence[int], n: int = 25, d: int = 6, t: float = 2.0
) -> dict[str, np.ndarray]:
    """Theorem 3a on separated points: distance of the operator from that of the limit
    times L/log L, prediction error times L, and smallest eigenvalues."""
    x, query = separated(n, d, 0.5, 14), sphere(1, d, 15)
    limit = operator(limit_matrix(n), t)
    far = torch.full((1, n), 0.25, dtype=F64) @ limit
    rows: dict[str, list[float]] = {"operator": [], "prediction": [], "smallest": []}
    for depth in depths:
        k = kernel_matrix(x, depth)
        off = torch.linalg.matrix_norm(operator(k, t) - limit, ord=2)
        rows["operator"].append(float(off) * depth / math.log(depth))
        found = weights(k, kernel_matrix(query, depth, x), t)
        rows["prediction"].append(float((found - far).norm()) * depth)
        rows["smallest"].append(float(torch.linalg.eigvalsh(k)[0]))
    return {name: np.array(values) for name, values in rows.items()}


def stopping_times(
    sizes: Sequence[int], depth: int = 3
) -> dict[tuple[int, int], dict[str, float]]:
    """Theorem 3b: norms of the operator stopped at 1/lambda_min, at 10 and never, for
    nested uniform data on S^2 and S^9: {(N, d): ...}."""
    found = {}
    for d in (3, 10):
        x = sphere(max(sizes), d, 16)
        k = relu_ntk(x, depth=depth, normalised=True)[1]
        for n in sizes:
            s = torch.linalg.eigvalsh(k[:n, :n])
            smallest = float(s[0])
            found[n, d] = {
                "smallest": smallest,
                "stopped": float(phi(1 / smallest, s).max()),
                "at_10": float(phi(10.0, s).max()),
                "never": 1 / smallest,
            }
    return found


def top_eigenvector(depths: Sequence[int], n: int = 25, d: int = 6) -> np.ndarray:
    """L |v_top - 1/sqrt(N)| by depth, with the sign of v fixed."""
    x = sphere(n, d, 17)
    found = []
    for depth in depths:
        v = torch.linalg.eigh(kernel_matrix(x, depth))[1][:, -1]
        v = v * torch.sign(v.sum())
        found.append(depth * float((v - n**-0.5).norm()))
    return np.array(found)


# ------------------------------------------------------------------------- images


def row_norms(
    task: Dataset, depths: Sequence[int], times: Sequence[float]
) -> np.ndarray:
    """Fig. 6: largest norm of a row of weights over test points, (depths, times)."""
    found = np.empty((len(depths), len(times)))
    for i, depth in enumerate(depths):
        k = relu_ntk(task.x_train, depth=depth, normalised=True)[1]
        cross = relu_ntk(task.x_test, task.x_train, depth=depth, normalised=True)[1]
        s, q = torch.linalg.eigh(k)
        modes = cross @ q
        for j, t in enumerate(times):
            gain = phi(t, s) if math.isfinite(t) else 1 / s
            found[i, j] = float((modes * gain).square().sum(1).sqrt().max())
    return found


def macro_f1(predicted: Tensor, labels: Tensor, classes: int) -> float:
    """F1 score of every class, averaged; 0 for a class that is never right."""
    scores = []
    for c in range(classes):
        right = float(((predicted == c) & (labels == c)).sum())
        total = float((predicted == c).sum() + (labels == c).sum())
        scores.append(2 * right / total if total else 0.0)
    return float(np.mean(scores))


def scores(
    task: Dataset, depths: Sequence[int], *, centred: bool = False
) -> dict[str, np.ndarray]:
    """Table 2: one-vs-all regression with one-hot targets: accuracy, F1, squared error.

    Args:
        task: with one-hot labels, unit-norm inputs.
        depths: numbers of weight layers; any depth.
        centred: take the mean target off before, and add it again.
    """
    rows: dict[str, list[float]] = {"accuracy": [], "f1": [], "mse": []}
    y, truth = task.y_train, task.y_test
    mean = y.mean(0) if centred else torch.zeros(y.shape[1], dtype=y.dtype)
    labels = truth.argmax(1)
    for depth in depths:
        if depth <= 1000:
            k = relu_ntk(task.x_train, depth=depth, normalised=True)[1]
            cross = relu_ntk(task.x_test, task.x_train, depth=depth, normalised=True)[1]
        else:
            k = kernel_matrix(task.x_train, depth)
            cross = kernel_matrix(task.x_test, depth, task.x_train)
        f = mean + kernel_predict(k, cross, y - mean, method="cholesky")
        predicted = f.argmax(1)
        rows["accuracy"].append(float((predicted == labels).double().mean()))
        rows["f1"].append(macro_f1(predicted, labels, y.shape[1]))
        rows["mse"].append(float((f - truth).square().mean()))
    return {name: np.array(values) for name, values in rows.items()}


def collapse_of_scores(task: Dataset, depths: Sequence[int]) -> dict[str, np.ndarray]:
    """Accuracy by depth, and the largest |f - counts/(N+3)| over test points."""
    counts = task.y_train.sum(0)
    accuracy, off = [], []
    labels = task.y_test.argmax(1)
    for depth in depths:
        k = kernel_matrix(task.x_train, depth)
        f = kernel_predict(k, kernel_matrix(task.x_test, depth, task.x_train),
                           task.y_train, method="cholesky")  # fmt: skip
        accuracy.append(float((f.argmax(1) == labels).double().mean()))
        off.append(float((f - counts / (len(task.y_train) + 3)).abs().max()))
    majority = int(counts.argmax())
    frequency = float((labels == majority).double().mean())
    return {
        "accuracy": np.array(accuracy), "off": np.array(off),
        "majority": np.array(frequency),
    }  # fmt: skip


def explorer_tables(
    task: Dataset,
    depths: Sequence[int] = (1, 2, 3, 5, 10, 20, 50, 100, 300, 1000, 10**4, 10**5),
) -> dict[str, Any]:
    """What ``figures.deep_relu.explorer`` draws, for every depth."""
    angle = np.linspace(0, math.pi, 300)
    gap = torch.as_tensor(2 * np.sin(angle / 2) ** 2)
    at = torch.tensor([0.2, 0.9, 1.5, 2.3, 3.0, 3.9, 4.4, 5.2, 5.9], dtype=F64)
    y = torch.tensor([0.9, 0.3, -0.8, -0.6, 0.2, 1.0, 0.5, -0.4, 0.1], dtype=F64)
    grid = torch.linspace(0, 2 * math.pi, 400, dtype=F64)
    x, queries = (torch.stack([a.cos(), a.sin()], 1) for a in (at, grid))
    gaps, cross = gaps_of(x), gaps_of(queries, x)
    profiles, spectra, predictions, accuracy = {}, {}, {}, []
    labels = task.y_test.argmax(1)
    of_task, to_task = gaps_of(task.x_train), gaps_of(task.x_test, task.x_train)
    for depth in depths:
        profiles[depth] = relu_ntk_any_depth(gap, depth)[1].numpy()
        k = relu_ntk_any_depth(of_task, depth)[1]
        s = torch.linalg.eigvalsh(k).flip(0)
        spectra[depth] = s.clamp_min(1e-12).numpy()
        f = kernel_predict(k, relu_ntk_any_depth(to_task, depth)[1], task.y_train)
        accuracy.append(float((f.argmax(1) == labels).double().mean()))
        toy, toy_cross = (relu_ntk_any_depth(g, depth)[1] for g in (gaps, cross))
        predictions[depth] = kernel_predict(toy, toy_cross, y).numpy()
    majority = int(task.y_train.sum(0).argmax())
    return {
        "depths": list(depths), "angle": angle, "profiles": profiles,
        "spectra": spectra,
        "toy": {"angle": at.numpy(), "y": y.numpy(), "grid": grid.numpy()},
        "predictions": predictions,
        "scores": {
            "accuracy": np.array(accuracy),
            "majority": np.array(float((labels == majority).double().mean())),
        },
    }  # fmt: skip
