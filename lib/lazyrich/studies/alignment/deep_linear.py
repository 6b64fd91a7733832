r"""Measurements on deep linear nets with one output: balance, kernel and growth.

Sources are equations of Sec. 4 and Apps. C and D of atanasov2022. ``depth`` counts layers
of weights. Flows use the expected loss with whitened data unless data are given, float64.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lazyrich import data
from lazyrich.dynamics import (
    LinearFlow,
    data_force,
    linear_flow,
    linear_velocity,
    square_force,
)
from lazyrich.kernels import alignment, ntk
from lazyrich.networks import DeepLinear
from lazyrich.studies.tools.curves import first_time
from lazyrich.studies.tools.statistics import loglog_slope

F64 = torch.float64
Params = dict[str, Tensor]
Rates = Sequence[float] | None


# ---------------------------------------------------------------- identities


def velocity_against_autograd(
    cases: Sequence[tuple[tuple[int, ...], Rates]], seed: int = 0
) -> float:
    """Eqs. 4 and 9: the closed form of dW/dt against minus the gradient of the mean square
    loss on random data, times the rates; largest relative difference."""
    worst = 0.0
    for widths, rates in cases:
        net = DeepLinear(widths)
        x = data.gaussian(30, widths[0], seed)
        teacher = data.linear_teacher(widths[0], seed, strength=1.3)
        y = x @ teacher
        w = net.init(seed)
        got = linear_velocity(w, square_force(teacher, x.mT @ x / len(x)), rates)

        def loss(
            p: Params, net: DeepLinear = net, x: Tensor = x, y: Tensor = y
        ) -> Tensor:
            return 0.5 * (net(p, x) - y).square().mean()

        gradient = torch.func.grad(loss)(w)
        eta = rates or [1.0] * net.depth
        for rate, (name, value) in zip(eta, got.items(), strict=True):
            expected = -rate * gradient[name]
            worst = max(worst, float((value - expected).norm() / expected.norm()))
    return worst


def layer_sum_against_jacobians(depths: Sequence[int], seed: int = 0) -> float:
    """Eq. 34: the sum over layers against the Gram matrix of Jacobians; largest relative
    difference."""
    worst = 0.0
    for depth in depths:
        net = DeepLinear((6, *range(5, 5 + depth - 1), 1))
        w, x = net.init(seed), data.gaussian(8, 6, seed)
        expected = ntk(lambda p, z, net=net: net(p, z), w, x)
        got = x @ net.tangent_matrix(w) @ x.mT
        worst = max(worst, float((got - expected).abs().max() / expected.abs().max()))
    return worst


def gradient_identity(depth: int = 4, seed: int = 0) -> dict[str, float]:
    """Eqs. 30-31: df/dW^l W^l^T = W^(l+1)^T df/dW^(l+1) for every pair of layers, and its
    cause: f(G W^l, W^(l+1) G^(-1)) = f for every invertible G."""
    widths = (6, *range(5, 5 + depth - 1), 1)
    net = DeepLinear(widths)
    w, x = net.init(seed), data.gaussian(1, 6, seed)
    gradient = torch.func.grad(lambda p: net(p, x)[0])(w)
    identity, symmetry = 0.0, 0.0
    for layer in range(depth - 1):
        lower, upper = f"W{layer}", f"W{layer + 1}"
        left = gradient[lower] @ w[lower].mT
        right = w[upper].mT @ gradient[upper]
        identity = max(identity, float((left - right).norm() / left.norm()))
        size = widths[layer + 1]
        G = torch.eye(size, dtype=F64) + 0.3 * data.gaussian(size, size, seed)
        turned = {**w, lower: G @ w[lower], upper: w[upper] @ torch.linalg.inv(G)}
        symmetry = max(symmetry, float((net(turned, x) / net(w, x) - 1).abs().max()))
    return {"identity": identity, "symmetry": symmetry}


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "square": lambda f, y: f - y,
    "logistic": lambda f, y: -y * torch.sigmoid(-f * y),
    "Huber": lambda f, y: (f - y).clamp(-0.5, 0.5),
}
"""Slopes d l / d f of three losses, for laws that hold for any of them."""


def differences(w: Params, rates: Sequence[float]) -> list[Tensor]:
    """W^l W^l^T / eta_l - W^(l+1)^T W^(l+1) / eta_(l+1) for every pair of layers, with the
    leading axes of ``w`` (Eq. 32)."""
    found = []
    for layer in range(len(w) - 1):
        lower, upper = w[f"W{layer}"], w[f"W{layer + 1}"]
        found.append(
            lower @ lower.mT / rates[layer] - upper.mT @ upper / rates[layer + 1]
        )
    return found


def balance_drift(
    cases: Sequence[Sequence[float]], loss: str, seed: int = 0
) -> dict[str, float]:
    """Eqs. 29, 32: largest drift of the conserved differences along flows with the given
    layer-wise rates, and the same for descent with steps, as a log-log slope in the step.
    """
    x = data.gaussian(20, 6, seed)
    y = (x @ data.linear_teacher(6, seed)).sign()
    force = data_force(x, y, LOSSES[loss])
    drift = 0.0
    for rates in cases:
        net = DeepLinear((6, *[5] * (len(rates) - 1), 1), 0.7)
        flow = linear_flow(
            net.init(seed), force, np.linspace(0, 5, 11), rates=rates, rtol=1e-13
        )
        for value in differences(flow.w, rates):
            drift = max(drift, float((value - value[0]).abs().max()))
    steps = np.array([0.02, 0.01, 0.005])
    by_step = []
    rates = cases[-1]
    net = DeepLinear((6, *[5] * (len(rates) - 1), 1), 0.7)
    for lr in steps:
        start = net.init(seed)
        w = start
        for _ in range(round(2.0 / lr)):
            v = linear_velocity(w, force, rates)
            w = {name: w[name] + lr * v[name] for name in w}
        pairs = zip(differences(w, rates), differences(start, rates), strict=True)
        by_step.append(max(float((a - b).norm()) for a, b in pairs))
    return {"flow": drift, "step_slope": loglog_slope(steps, np.array(by_step))}


# ---------------------------------------------------------------- trained nets


@dataclass(frozen=True)
class Trained:
    """A run of one deep linear net on whitened data.

    Attributes:
        depth, sigma, s, rates: of the run.
        beta: the teacher's direction (d,).
        t: (m,) times.
        c: function along beta (m,).
        loss: over its value at the origin (m,).
        cosine: beta W^1^T W^1 beta / |W^1^T W^1|_F of the first layer (m,).
        alignment: beta M beta / |M|_F with the plain kernel (m,).
        flow: the trajectory.
    """

    depth: int
    sigma: float
    s: float
    rates: tuple[float, ...]
    beta: Tensor
    t: np.ndarray
    c: np.ndarray
    loss: np.ndarray
    cosine: np.ndarray
    alignment: np.ndarray
    flow: LinearFlow

    @property
    def half_loss_time(self) -> float:
        """When the loss is half of what it is at the origin."""
        return first_time(self.t, self.loss, 0.5)

    @property
    def drop(self) -> float:
        """Time from 90 % to 10 % of the loss, over the half-loss time."""
        begin, end = (first_time(self.t, self.loss, level) for level in (0.9, 0.1))
        return (end - begin) / self.half_loss_time

    def matrix(self, weighted: bool = False) -> Tensor:
        """M of the final kernel, plain or with layers weighted by their rates."""
        net = DeepLinear(widths_of(self.flow.w))
        return net.tangent_matrix(self.flow.at(-1), self.rates if weighted else None)

    def spike_ratio(self, weighted: bool = False) -> float:
        """lambda_max / lambda_min - 1 of the final kernel: A / B."""
        values = torch.linalg.eigvalsh(self.matrix(weighted))
        return float(values[-1] / values[0] - 1)


def widths_of(w: Params) -> tuple[int, ...]:
    """The widths of the net that layers belong to."""
    return (w["W0"].shape[-1], *(w[f"W{k}"].shape[-2] for k in range(len(w))))


def train(
    depth: int,
    sigma: float,
    s: float = 1.0,
    rates: Rates = None,
    *,
    d: int = 25,
    n: int = 20,
    seed: int = 0,
    points: int = 600,
    late: float = 3.0,
    rtol: float = 1e-9,
) -> Trained:
    """One run, long enough for the loss to vanish (``late`` times the expected half-loss
    time, and at least 12 of the final time constants)."""
    eta = (1.0,) * depth if rates is None else tuple(rates)
    mean = math.prod(eta) ** (1 / depth)
    final = 1.0 / (depth * mean * s ** (2 - 2 / depth))
    if depth == 2:
        wait = math.log(2 * s / sigma**2 + 2) / (2 * s * mean)
    else:
        wait = sigma ** (2 - depth) / (s * (depth - 2) * mean)
    # inner layers start at unequal scales when rates differ: leave room
    t = np.linspace(0.0, late * wait + 15 * depth * final, points)
    net = DeepLinear((d, *[n] * (depth - 1), 1), sigma)
    beta = data.linear_teacher(d, seed)
    flow = linear_flow(net.init(seed), s * beta, t, rates=eta, rtol=rtol)
    w = flow.product[:, 0]
    first = flow.w["W0"]
    gram = torch.linalg.matrix_norm(first @ first.mT)  # |W W^T|_F = |W^T W|_F
    M = net.tangent_matrix(flow.w)
    return Trained(
        depth, sigma, s, eta, beta, t, (w @ beta).numpy(),
        ((s * beta - w).square().sum(1) / s**2).numpy(),
        ((first @ beta).square().sum(1) / gram).numpy(),
        (torch.einsum("i,mij,j->m", beta, M, beta) / torch.linalg.matrix_norm(M)).numpy(),
        flow,
    )  # fmt: skip


def rank_one_layers(
    sigmas: Sequence[float], rates: Rates = None, depth: int = 3
) -> dict[str, np.ndarray | float]:
    """Eq. 33 after training: second over first singular value of every hidden layer
    (sigmas, layers), smallest overlap of singular vectors that meet, and largest error of
    the layers' scales against (eta_l / eta_L)^(1/2) u, at the smallest sigma."""
    seconds, overlap, scale_error = [], 1.0, 0.0
    for sigma in sigmas:
        run = train(depth, sigma, rates=rates)
        w = run.flow.at(-1)
        parts = [
            torch.linalg.svd(w[f"W{k}"], full_matrices=False) for k in range(depth)
        ]
        seconds.append([float(p.S[1] / p.S[0]) for p in parts[:-1]])
        overlap, scale_error = 1.0, 0.0
        for k in range(depth - 1):
            meeting = parts[k].U[:, 0] @ parts[k + 1].Vh[0]
            overlap = min(overlap, abs(float(meeting)))
            wanted = math.sqrt(run.rates[k] / run.rates[-1])
            got = float(parts[k].S[0] / parts[-1].S[0])
            scale_error = max(scale_error, abs(got / wanted - 1))
    return {
        "second": np.array(seconds),
        "overlap": overlap,
        "scale_error": scale_error,
    }


def balanced_kernel_error(
    rates: Sequence[float],
    coefficients: Callable[[Sequence[float]], tuple[float, float]],
    seed: int = 0,
) -> float:
    """Eqs. 10, 35, 36 on weights that are exactly balanced and rank one: relative error of
    u^(2L-2) [A r_1 r_1^T + B I] with ``coefficients(rates)`` = (A, B)."""
    depth, u = len(rates), 1.3
    widths = (6, *range(5, 5 + depth - 1), 1)
    vectors = [
        data.linear_teacher(width, seed + k) for k, width in enumerate(widths[:-1])
    ]
    vectors.append(torch.ones(1, dtype=F64))
    w = {
        f"W{k}": math.sqrt(rates[k] / rates[-1]) * u
        * torch.outer(vectors[k + 1], vectors[k])
        for k in range(depth)
    }  # fmt: skip
    A, B = coefficients(rates)
    first = vectors[0]
    expected = u ** (2 * depth - 2) * (
        A * torch.outer(first, first) + B * torch.eye(6, dtype=F64)
    )
    got = DeepLinear(widths).tangent_matrix(w)
    return float((got - expected).norm() / expected.norm())


def balanced_readout_error(
    depth: int, s: float = 1.7, seed: int = 0
) -> dict[str, float]:
    """Eq. 38 on exactly balanced rank-one weights with r_1 not along beta: velocity of the
    top layer's scale over u^(L-1) (s r_1 . beta - u^L), minus 1, and over the printed
    power u^(2L-2)."""
    u, widths = 0.8, (6, *range(5, 5 + depth - 1), 1)
    vectors = [
        data.linear_teacher(width, seed + k) for k, width in enumerate(widths[:-1])
    ]
    vectors.append(torch.ones(1, dtype=F64))
    w = {f"W{k}": u * torch.outer(vectors[k + 1], vectors[k]) for k in range(depth)}
    beta = data.linear_teacher(6, seed + 99)
    v = linear_velocity(w, s * beta)[f"W{depth - 1}"][0] @ vectors[-2]
    drive = s * float(vectors[0] @ beta) - u**depth
    return {
        "corrected": abs(float(v) / (u ** (depth - 1) * drive) - 1),
        "printed": abs(float(v) / (u ** (2 * depth - 2) * drive) - 1),
    }


def growth_prefactor(run: Trained, low: float = 0.2, high: float = 0.9) -> float:
    """Mean of dc/dt / [c^(2-2/L) (s - c)] while low s < c < high s (Eq. 39); dc/dt is the
    exact velocity at the run's points, not a difference of samples."""
    inside = np.flatnonzero((run.c > low * run.s) & (run.c < high * run.s))
    net = DeepLinear(widths_of(run.flow.w))
    found = []
    for k in inside[:: max(1, len(inside) // 40)]:
        w = run.flow.at(int(k))
        v = linear_velocity(w, run.s * run.beta, run.rates)
        below, above = net.below(w), net.above(w)
        parts = [above[j] @ v[f"W{j}"] @ below[j] @ run.beta for j in range(run.depth)]
        speed = float(torch.stack(parts).sum())
        c = float(run.c[k])
        found.append(speed / (c ** (2 - 2 / run.depth) * (run.s - c)))
    if not found:
        raise ValueError("run must have samples within the window, got none")
    return float(np.mean(found))


def half_loss_times(
    depth: int, sigmas: Sequence[float], seeds: int, **options: float
) -> dict[str, np.ndarray]:
    """``half_loss``, ``aligned`` (first-layer cosine 1/2) and ``loss_at_aligned`` of nets
    with d = 30, n = 50 unless given: (sigmas, seeds) each. NaN where a large start never
    gets as far as a cosine of 1/2."""
    options = {"d": 30, "n": 50, "rtol": 1e-7} | options
    found: dict[str, list[float]] = {
        "half_loss": [],
        "aligned": [],
        "loss_at_aligned": [],
    }
    for sigma in sigmas:
        for seed in range(seeds):
            run = train(depth, sigma, seed=seed, late=2.5, **options)  # type: ignore
            reached = run.cosine.max() > 0.5
            when = first_time(run.t, run.cosine, 0.5) if reached else math.nan
            found["half_loss"].append(run.half_loss_time)
            found["aligned"].append(when)
            found["loss_at_aligned"].append(float(np.interp(when, run.t, run.loss)))
    return {k: np.reshape(v, (len(sigmas), seeds)) for k, v in found.items()}


def slope_at_small_sigma(sigmas: Sequence[float], times: np.ndarray) -> float:
    """Log-log slope of the mean over seeds between the two last sigmas."""
    return loglog_slope(np.array(sigmas[-2:]), times.mean(1)[-2:])


def balanced_half_loss(depth: int, sigma: float, s: float = 1.0) -> float:
    """Half-loss time of a net that starts balanced, rank one and aligned, u_0 = sigma."""
    widths = (6, *[5] * (depth - 1), 1)
    beta = data.linear_teacher(6, 0)
    vectors = [beta, *(data.linear_teacher(5, k) for k in range(1, depth))]
    vectors.append(torch.ones(1, dtype=F64))
    w = {f"W{k}": sigma * torch.outer(vectors[k + 1], vectors[k]) for k in range(depth)}
    end = 1.5 * sigma ** (2 - depth) / (s * (depth - 2)) + 10 / s
    t = np.linspace(0, end, 2000)
    product = DeepLinear(widths).product(linear_flow(w, s * beta, t).w)
    loss = (s * beta - product).square().sum(1) / s**2
    return first_time(t, loss.numpy(), 0.5)


def first_layer_rates(
    depth: int, sigmas: Sequence[float], seeds: int, s: float = 1.0
) -> dict[str, float]:
    """Eq. 41 at initialisation: log-log slopes in sigma of |2 s beta . w| / |W^1 v|^2 (mean
    over seeds) and of d/dt |W^1 v|^2 = -2 (w . v)^2 for v orthogonal to beta, and the
    relative error of the first as d/dt |W^1 beta|^2 / |W^1 v|^2."""
    d, n = 30, 50
    drive, stray, error = [], [], 0.0
    for sigma in sigmas:
        net = DeepLinear((d, *[n] * (depth - 1), 1), sigma)
        rows = []
        for seed in range(seeds):
            beta = data.linear_teacher(d, seed)
            v = data.linear_teacher(d, seed + 1000)
            v = v - (v @ beta) * beta
            v = v / v.norm()
            w = net.init(seed)
            W, dW = w["W0"], linear_velocity(w, s * beta)["W0"]
            product = net.product(w)
            below = (W @ v).square().sum()
            expected = 2 * s * (beta @ product) / below
            got = 2 * (W @ beta) @ (dW @ beta) / below
            rows.append((abs(float(expected)), abs(2 * float((W @ v) @ (dW @ v)))))
            error = max(error, abs(float(got / expected) - 1))
        drive.append(np.mean([row[0] for row in rows]))
        stray.append(np.mean([row[1] for row in rows]))
    scale = np.array(sigmas)
    return {
        "drive": loglog_slope(scale, np.array(drive)),
        "orthogonal": loglog_slope(scale, np.array(stray)),
        "error": error,
    }


def hidden_kernels(sigmas: Sequence[float], s: float = 1.7) -> dict[str, float]:
    """Eq. 43, three layers: log-log slopes in sigma of the errors of the hidden layers'
    Gram matrices B_l^T B_l against s^(2 l/L) beta beta^T, in the block orthogonal to beta
    and along beta."""
    errors: dict[str, list[float]] = {
        f"{block}_{layer}": [] for layer in (1, 2) for block in ("orthogonal", "along")
    }
    for sigma in sigmas:
        run = train(3, sigma, s, rtol=1e-12)
        below = DeepLinear(widths_of(run.flow.w)).below(run.flow.at(-1))
        off = torch.eye(len(run.beta), dtype=F64) - torch.outer(run.beta, run.beta)
        for layer in (1, 2):
            gram = below[layer].mT @ below[layer]
            along = float(run.beta @ gram @ run.beta)
            errors[f"along_{layer}"].append(abs(along - s ** (2 * layer / 3)))
            errors[f"orthogonal_{layer}"].append(float((off @ gram @ off).norm()))
    scale = np.array(sigmas)
    return {name: loglog_slope(scale, np.array(v)) for name, v in errors.items()}


def hidden_kernels_on_data(s: float = 1.7, seed: int = 0) -> dict[str, float]:
    """App. D.3, after Eq. 43, on P < d whitened points: largest relative error over layers
    of s^(2l/L-2) y y^T, and of (y y^T)^(l/L) when Sigma = X^T X / P and when X X^T itself
    is a projector. Layers are exact, K_l = s^(2l/L) X beta beta^T X^T."""
    points, d, depth = 10, 25, 3
    u, _, v = torch.linalg.svd(data.gaussian(points, d, seed), full_matrices=False)
    beta = v.mT @ (v @ data.linear_teacher(d, seed))
    beta = beta / beta.norm()
    worst = {"general": 0.0, "covariance": 0.0, "projector": 0.0}
    for name, size in (("covariance", math.sqrt(points)), ("projector", 1.0)):
        x = size * u @ v
        y = s * x @ beta
        outer = torch.outer(y, y)
        for layer in range(1, depth + 1):
            gram = s ** (2 * layer / depth) * torch.outer(x @ beta, x @ beta)
            general = s ** (2 * layer / depth - 2) * outer
            # (y y^T)^p = |y|^(2p) y y^T / |y|^2
            printed = outer * (y @ y) ** (layer / depth - 1)
            for key, guess in (("general", general), (name, printed)):
                gap = float((guess - gram).norm() / gram.norm())
                worst[key] = max(worst[key], gap)
    return worst


# ---------------------------------------------------------------- images


@dataclass(frozen=True)
class ImageRun:
    """A deep linear net on partially whitened images of two classes.

    Attributes:
        depth: layers of weights.
        t, alignment, loss: curves (m,).
        gram: final tangent kernel on the training images, sorted by class (n, n).
        expected: s^(2-2/L) [X X^T + (L-1) y y^T / s^2], the same shape.
        spike: (L-1) as fitted on {y y^T, X X^T}.
        fit_error: what that fit leaves, relative.
        expected_alignment: kernel-target alignment of ``expected``.
    """

    depth: int
    t: np.ndarray
    alignment: np.ndarray
    loss: np.ndarray
    gram: np.ndarray
    expected: np.ndarray
    spike: float
    fit_error: float
    expected_alignment: float


def image_runs(
    task: data.Dataset, settings: Sequence[tuple[int, float, float]], n: int = 50
) -> list[ImageRun]:
    """Figs. D.4a and D.4b: nets of several depths on one set of images.

    Args:
        task: inputs in principal components, labels +-1.
        settings: (depth, sigma, final time) of every net.
        n: width.
    """
    order = torch.argsort(task.y_train, stable=True)
    x, y = task.x_train[order], task.y_train[order]
    target = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]
    s = float(target.norm())
    force = square_force(target, x.mT @ x / len(x))
    runs = []
    for depth, sigma, end in settings:
        net = DeepLinear((x.shape[1], *[n] * (depth - 1), 1), sigma)
        flow = linear_flow(net.init(0), force, np.linspace(0, end, 120), rtol=1e-7)
        curve = [
            float(alignment(x @ net.tangent_matrix(flow.at(k)) @ x.mT, y))
            for k in range(len(flow.t))
        ]
        loss = (flow.product[:, 0] @ x.mT - y).square().mean(1)
        gram = x @ net.tangent_matrix(flow.at(-1)) @ x.mT
        inner, outer = x @ x.mT, torch.outer(y, y)
        expected = s ** (2 - 2 / depth) * (inner + (depth - 1) * outer / s**2)
        basis = torch.stack((outer.reshape(-1), inner.reshape(-1)), 1)
        fit = torch.linalg.lstsq(basis, gram.reshape(-1, 1)).solution[:, 0]
        left = gram.reshape(-1) - basis @ fit
        runs.append(
            ImageRun(
                depth, flow.t.numpy(), np.array(curve), loss.numpy(), gram.numpy(),
                expected.numpy(), float(fit[0] / fit[1]) * s**2,
                float(left.norm() / gram.norm()), float(alignment(expected, y)),
            )
        )  # fmt: skip
    return runs
