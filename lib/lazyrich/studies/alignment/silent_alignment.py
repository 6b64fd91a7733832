r"""Measurements on the idea of silent alignment: a kernel that turns before it grows.

Sources are equations of Sec. 2 and App. A of atanasov2022. Function-space flows use the
loss summed over examples, as there.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.linalg import expm
from torch import Tensor

from lazyrich import data
from lazyrich.core import rng
from lazyrich.dynamics import gradient_flow, kernel_flow
from lazyrich.kernels import TwoPhaseKernel, alignment, kernel_predict, ntk
from lazyrich.networks import DeepLinear, FullyConnected
from lazyrich.studies.tools.statistics import loglog_slope

F64 = torch.float64
Params = dict[str, Tensor]
# (kernels, rows, t, error, rate=, prefactor=, ordered=) -> f* - f_0 at one point
Predictor = Callable[..., float]


def _draw(name: str, seed: int, *shape: int) -> Tensor:
    numbers = rng.numpy_generator(f"silent_alignment/{name}", seed)
    return torch.from_numpy(numbers.standard_normal(shape))


def random_kernel(points: int, seed: int, floor: float = 0.3) -> Tensor:
    """A positive definite kernel (points, points) with eigenvalues above ``floor``."""
    g = _draw("kernel", seed, points, 2 * points)
    return g @ g.mT / (2 * points) + floor * torch.eye(points, dtype=F64)


# ---------------------------------------------------------------- function-space flow


def velocity_in_function_space(seed: int = 0) -> dict[str, float]:
    """Eq. 1 two ways, for a tanh net at the start and in mid-training: the derivative of f
    along the descent of the weights, and the kernel times the errors. Largest relative
    difference on training and held-out points."""
    net = FullyConnected(5, 7, 1, "tanh", bias=False)
    x, y = data.gaussian(6, 5, seed), _draw("labels", seed, 6)
    held_out = data.gaussian(4, 5, seed + 1)
    flow = gradient_flow(net, net.init(seed), x, y, [0.0, 0.5])
    worst = {"training": 0.0, "held_out": 0.0}
    for k in range(2):
        w = flow.at(k)
        error = y - net(w, x)
        descent = net.pullback(w, x)[1](error)
        for name, points in (("training", x), ("held_out", held_out)):
            along = torch.func.jvp(lambda p, z=points: net(p, z), (w,), (descent,))[1]
            expected = ntk(net, w, points, x) @ error
            mismatch = float((along - expected).norm() / expected.norm())
            worst[name] = max(worst[name], mismatch)
    return worst


def _history(
    kernel: Callable[[float], Tensor], edges: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Kernels and the row of the last point at the midpoints of the intervals."""
    middle = 0.5 * (edges[1:] + edges[:-1])
    stack = np.stack([kernel(float(t)).numpy() for t in middle])
    return stack[:, :n, :n], stack[:, n, :n]


def predictor_from_kernels(formula: Predictor, seed: int = 0) -> dict[str, float]:
    """Eq. 2 on two made-up histories, rate 2, against the integrated flow.

    ``g(t) A`` commutes with itself at all times; ``exp(-t) A + (1 - exp(-t)) B`` does not.

    Returns:
        ``corrected``, ``printed`` of the commuting history and ``ordered``, ``unordered``
        of the other one: each (formula - flow) / flow, without a sign but for
        ``printed``, the ratio formula / flow.
    """
    n, rate = 6, 2.0
    first, second = random_kernel(n + 1, seed), random_kernel(n + 1, seed + 1)
    y = _draw("labels", seed, n)
    edges = 60.0 * np.linspace(0, 1, 3001) ** 2

    def commuting(t: float) -> Tensor:
        return (1 - 0.8 * math.exp(-t)) * first

    def turning(t: float) -> Tensor:
        return math.exp(-t) * first + -math.expm1(-t) * 3 * second

    ends = [
        float(kernel_flow(history, y, [0.0, 60.0], rate=rate).f[-1, n])
        for history in (commuting, turning)
    ]
    still, moving = (_history(k, edges, n) for k in (commuting, turning))
    error = y.numpy()
    corrected = formula(*still, edges, error, rate=rate, ordered=False)
    printed = formula(*still, edges, error, rate=rate, prefactor=1.0, ordered=False)
    ordered = formula(*moving, edges, error, rate=rate)
    unordered = formula(*moving, edges, error, rate=rate, ordered=False)
    return {
        "corrected": abs(corrected / ends[0] - 1),
        "printed": printed / ends[0],
        "ordered": abs(ordered / ends[1] - 1),
        "unordered": abs(unordered / ends[1] - 1),
    }


def predictor_of_a_net(formula: Predictor, seed: int = 0) -> dict[str, float]:
    """Eq. 2 with the kernel history of a trained tanh net, rate 2: errors of f* - f_0 on a
    held-out point, relative to it, as the formula stands and with prefactor 1."""
    net = FullyConnected(5, 20, 1, "tanh", bias=False)
    x, y = data.gaussian(6, 5, seed), _draw("labels", seed, 6)
    points = torch.cat((x, data.gaussian(1, 5, seed + 1)))
    rate, edges = 2.0, 12.0 * np.linspace(0, 1, 401) ** 2
    times = np.sort(np.concatenate((edges, 0.5 * (edges[1:] + edges[:-1]))))
    flow = gradient_flow(net, net.init(seed), x, y, times, rate=rate)
    kernels = np.stack(
        [ntk(net, flow.at(k), points).numpy() for k in range(1, len(times), 2)]
    )
    change = float(net(flow.at(-1), points)[6] - net(flow.at(0), points)[6])
    error = (y - flow.f[0]).numpy()
    history = kernels[:, :6, :6], kernels[:, 6, :6], edges, error
    return {
        "with_rate": abs(formula(*history, rate=rate) / change - 1),
        "without": abs(formula(*history, rate=rate, prefactor=1.0) / change - 1),
    }


def static_kernel(seed: int = 0) -> dict[str, float]:
    """Sec. 2: a kernel that stands still ends in kernel regression.

    Returns:
        ``zero_start``, ``other_start``: flow against regression, where a start f_0 != 0
        adds f_0(x) - k K^(-1) f_0; ``linearised_net``: the same for the flow of a net
        linearised in its weights.
    """
    n = 10
    K = random_kernel(n + 3, seed)
    y, start = _draw("labels", seed, n), _draw("start", seed, n + 3)
    to_train = torch.linalg.solve(K[:n, :n], K[:n, n:]).mT  # k K^(-1)
    zero = kernel_flow(K, y, [0.0, 120.0]).f[-1, n:]
    other = kernel_flow(K, y, [0.0, 120.0], start=start).f[-1, n:]
    expected = to_train @ y
    moved = start[n:] + to_train @ (y - start[:n])
    net = FullyConnected(5, 64, 1, "tanh", bias=False)
    w = net.init(seed)
    points = torch.cat((data.gaussian(6, 5, seed), data.gaussian(4, 5, seed + 1)))
    jacobian = torch.func.jacrev(lambda p: net(p, points))(w)
    features = torch.cat([j.reshape(len(points), -1) for j in jacobian.values()], 1)
    labels = _draw("labels", seed + 1, 6)
    flow = gradient_flow(
        lambda p, z: z @ p["w"], {"w": torch.zeros(features.shape[1], dtype=F64)},
        features[:6], labels, [0.0, 400.0], rtol=1e-7,
    )  # fmt: skip
    gram = features @ features.mT
    regression = kernel_predict(
        gram[:6, :6].contiguous(), gram[6:, :6].contiguous(), labels
    )
    final = features[6:] @ flow.w["w"][-1]
    return {
        "zero_start": float((zero - expected).norm() / expected.norm()),
        "other_start": float((other - moved).norm() / moved.norm()),
        "linearised_net": float((final - regression).norm() / regression.norm()),
    }


# ---------------------------------------------------------------- the two-phase model


def toy(epsilon: float, seed: int = 0, **options: Any) -> TwoPhaseKernel:
    """Eq. 3 over six training points and one test point."""
    return TwoPhaseKernel(
        random_kernel(7, seed), random_kernel(7, seed + 1), epsilon, **options
    )


def two_phase_shape(epsilon: float, seed: int = 0) -> dict[str, float]:
    """Eq. 3: jump of the kernel at the end of its turning, smallest step of its scale
    afterwards, and its smallest eigenvalue over its scale."""
    kernel = toy(epsilon, seed)
    tau = kernel.turned
    times = np.linspace(tau, tau + 8, 200)
    scales = np.array([kernel.scale(float(t)) for t in times])
    jump = (kernel(tau + 1e-12) - kernel(tau)).norm() / kernel(tau).norm()
    smallest = min(
        float(torch.linalg.eigvalsh(kernel(float(t)))[0]) / kernel.scale(float(t))
        for t in np.linspace(0, tau + 8, 50)
    )
    return {
        "jump": float(jump),
        "smallest_step": float(np.diff(scales).min()),
        "smallest_eigenvalue": smallest,
    }


def toy_errors(epsilons: Sequence[float], seed: int = 0) -> np.ndarray:
    """Distance of the trained toy, f_0 = 0, from regression with its final kernel."""
    y = _draw("labels", seed, 6)
    errors = []
    for epsilon in epsilons:
        kernel = toy(epsilon, seed)
        end = kernel_flow(kernel, y, [0.0, 120.0]).f[-1, 6]
        final = kernel.final
        expected = final[6, :6] @ torch.linalg.solve(final[:6, :6], y)
        errors.append(abs(float(end - expected)))
    return np.array(errors)


def error_while_turning(epsilons: Sequence[float], seed: int = 0) -> dict[str, Any]:
    """Eq. 12: |Delta(tau) - Delta_0| / epsilon for every epsilon, and whether the loss
    falls all the way."""
    y = _draw("labels", seed, 6)
    moved, falls = [], True
    for epsilon in epsilons:
        kernel = toy(epsilon, seed)
        flow = kernel_flow(kernel, y, np.linspace(0, kernel.turned, 20))
        moved.append(float((flow.error[-1] - flow.error[0]).norm()) / epsilon)
        falls = falls and bool((flow.error.norm(dim=1).diff() < 0).all())
    return {"moved": np.array(moved), "falls": falls}


def error_while_growing(epsilon: float = 0.01, seed: int = 0) -> float:
    """Eq. 13: Delta(t) against exp(-h(t) K_infinity) Delta(tau), h = int_tau^t g; largest
    difference relative to Delta(tau)."""
    kernel = toy(epsilon, seed)
    y, tau = _draw("labels", seed, 6), kernel.turned
    times = tau + np.linspace(0, 6, 7)
    flow = kernel_flow(kernel, y, times, rtol=1e-12)
    begin, worst = flow.error[0].numpy(), 0.0
    for t, error in zip(times, flow.error.numpy(), strict=True):
        x = t - tau
        h = epsilon * x + (1 - epsilon) * (x + math.expm1(-x))
        expected = expm(-h * kernel.final[:6, :6].numpy()) @ begin
        worst = max(worst, float(np.linalg.norm(error - expected)))
    return worst / float(np.linalg.norm(begin))


def end_of_growth(epsilon: float = 0.01, seed: int = 0) -> dict[str, float]:
    """Eq. 14: the end does not depend on how the scale grows, and a final kernel that is
    singular on the training points acts through its pseudo-inverse."""
    y = _draw("labels", seed, 6)
    shapes: dict[str, Callable[[float], float]] = {
        "exponential": lambda x: -math.expm1(-x),
        "sigmoid": lambda x: math.tanh(x) ** 2,
        "algebraic": lambda x: x / (1 + x),
    }
    ends = [
        float(kernel_flow(toy(epsilon, seed, growth=g), y, [0.0, 150.0]).f[-1, 6])
        for g in shapes.values()
    ]
    g = _draw("low rank", seed, 7, 3)
    kernel = TwoPhaseKernel(random_kernel(7, seed), g @ g.mT, epsilon)
    flow = kernel_flow(kernel, y, [kernel.turned, 200.0], rtol=1e-12)
    final = kernel.final
    inverse = torch.linalg.pinv(final[:6, :6], rtol=1e-10, hermitian=True)
    expected = flow.f[0, 6] + final[6, :6] @ inverse @ flow.error[0]
    return {
        "spread_over_shapes": max(ends) - min(ends),
        "pseudo_inverse": abs(float(flow.f[-1, 6] - expected)),
    }


# ---------------------------------------------------------------- small weights


def relu_net(w: Params, x: Tensor) -> Tensor:
    """A bias-free ReLU network on the weights of ``DeepLinear``: (n,)."""
    z = x
    for layer in range(len(w)):
        z = z @ w[f"W{layer}"].mT
        if layer < len(w) - 1:
            z = torch.relu(z)
    return z.squeeze(-1)


def homogeneity(
    depths: Sequence[int], sigmas: Sequence[float], seeds: int = 3
) -> np.ndarray:
    """Eq. 15: slopes in log sigma of |f_0| and |K_0|, (depths, linear or ReLU, 2)."""
    x = data.gaussian(30, 20)
    found = np.empty((len(depths), 2, 2))
    for row, depth in enumerate(depths):
        for kind in range(2):
            sizes = []
            for sigma in sigmas:
                net = DeepLinear((20, *[40] * (depth - 1), 1), sigma)
                f: Callable[..., Tensor] = relu_net if kind else net
                drawn = [net.init(seed) for seed in range(seeds)]
                sizes.append(
                    (
                        np.mean([float(f(w, x).norm()) for w in drawn]),
                        np.mean([float(ntk(f, w, x).norm()) for w in drawn]),
                    )
                )
            for k, column in enumerate(np.array(sizes).T):
                found[row, kind, k] = loglog_slope(np.array(sigmas), column)
    return found


def alignment_properties(seed: int = 0) -> dict[str, float]:
    """Kernel-target alignment: changes under rescaling, its value for y y^T and for the
    identity times sqrt(n), and its range over random kernels."""
    n = 12
    y = _draw("labels", seed, n)
    kernels = torch.stack([random_kernel(n, seed + k, 0.0) for k in range(50)])
    values = alignment(kernels, y)
    return {
        "rescaled": float((alignment(7e-9 * kernels, -3 * y) - values).abs().max()),
        "target": float(alignment(torch.outer(y, y), y)),
        "identity": float(alignment(torch.eye(n, dtype=F64), y)) * math.sqrt(n),
        "smallest": float(values.min()),
        "largest": float(values.max()),
    }


def alignment_of_ideal_kernels(
    ceiling: Callable[[int, int], float], seed: int = 0
) -> float:
    """Largest error of ``ceiling(depth, rank)`` against the alignment of X [(L-1) beta
    beta^T + I] X^T on whitened inputs with fewer and with more points than dimensions."""
    worst = 0.0
    for points, d in ((15, 40), (60, 25)):
        drawn = data.gaussian(points, d, seed)
        u, _, v = torch.linalg.svd(drawn, full_matrices=False)
        x = u @ v
        beta = v.mT @ (v @ data.linear_teacher(d, seed))
        beta = beta / beta.norm()
        for depth in range(2, 6):
            M = (depth - 1) * torch.outer(beta, beta) + torch.eye(d, dtype=F64)
            seen = float(alignment(x @ M @ x.mT, x @ beta))
            worst = max(worst, abs(seen - ceiling(depth, len(v))))
    return worst


def relu_residuals(
    task: data.Dataset,
    sigmas: Sequence[float],
    seeds: int,
    h: int = 100,
    lr: float = 0.1,
    stop_loss: float = 1e-9,
    max_steps: int = 20_000,
) -> dict[str, np.ndarray]:
    """Trained two-layer ReLU nets against regression with their kernels.

    Full-batch gradient descent on the mean square loss; all nets go together and each is
    frozen when its loss is below ``stop_loss``.

    Args:
        task: whitened inputs, labels +-1.
        sigmas, seeds: scales of the initial weights, and how many nets at each.
        h: width.
        lr: learning rate; stable up to about 0.1 for whitened inputs and sigma = 1.

    Returns:
        ``final``, ``initial``: |f - k K^(-1) y| / |f| on test points with the final and the
        initial tangent kernel; ``loss``: of the last step. Each (sigmas, seeds).
    """
    x, y = task.x_train, task.y_train
    start: list[Params] = [
        DeepLinear((x.shape[1], h, 1), sigma).init(seed)
        for sigma in sigmas
        for seed in range(seeds)
    ]
    W = torch.stack([w["W0"] for w in start])
    a = torch.stack([w["W1"][0] for w in start])
    loss = torch.full((len(start),), math.inf, dtype=F64)
    open_ = torch.arange(len(start))
    for step in range(max_steps):
        z = x @ W[open_].mT
        active = torch.relu(z)
        error = y - (active @ a[open_].unsqueeze(-1)).squeeze(-1)
        loss[open_] = 0.5 * error.square().mean(1)
        if step % 50 == 0:
            going = loss[open_] > stop_loss
            open_, z, active, error = (
                open_[going],
                z[going],
                active[going],
                error[going],
            )
            if not len(open_):
                break
        scaled = (lr / len(y)) * error.unsqueeze(-1)
        back = scaled * (z > 0) * a[open_].unsqueeze(1)
        a[open_] += (active * scaled).sum(1)
        W[open_] += back.mT @ x
    found: dict[str, list[float]] = {"final": [], "initial": []}
    for k, w0 in enumerate(start):
        w = {"W0": W[k], "W1": a[k : k + 1]}
        f = relu_net(w, task.x_test)
        for name, weights in (("final", w), ("initial", w0)):
            train, test = (relu_kernel(weights, p, x) for p in (x, task.x_test))
            expected = kernel_predict(0.5 * (train + train.mT), test, y)
            found[name].append(float((f - expected).norm() / f.norm()))
    found["loss"] = loss.tolist()
    shape = (len(sigmas), seeds)
    return {k: np.reshape(v, shape) for k, v in found.items()}


def relu_kernel(w: Params, x: Tensor, other: Tensor) -> Tensor:
    """Tangent kernel of a two-layer ReLU net: z . z' + sum_i a_i^2 1_i 1'_i x . x'."""
    W, a = w["W0"], w["W1"][0]
    z, z_other = x @ W.mT, other @ W.mT
    gates = ((z > 0) * a.square()).to(x.dtype) @ (z_other > 0).to(x.dtype).mT
    return torch.relu(z) @ torch.relu(z_other).mT + gates * (x @ other.mT)


def path_kernel(
    sigma: float, lr: float, stop_loss: float = 1e-8, seed: int = 0
) -> dict[str, float]:
    """Sec. 1.1: f* - f_0 of a ReLU net against the time integral of kernel times error
    along its descent, and against regression with the final kernel; relative errors on
    held-out points."""
    n, d, h = 8, 10, 20
    u, _, v = torch.linalg.svd(data.gaussian(n, d, seed), full_matrices=False)
    x = math.sqrt(n) * u @ v
    y = _draw("labels", seed, n).sign()
    x_test = data.gaussian(50, d, seed + 1)
    w = DeepLinear((d, h, 1), sigma).init(seed)
    f0, total = relu_net(w, x_test), torch.zeros(len(x_test), dtype=F64)
    steps = 0
    while True:
        z = x @ w["W0"].mT
        active = torch.relu(z)
        error = y - active @ w["W1"][0]
        if 0.5 * float(error.square().mean()) < stop_loss:
            break
        steps += 1
        if steps > 200_000:
            raise RuntimeError(f"no fit within {steps} steps at sigma = {sigma}")
        scaled = (lr / n) * error
        total += relu_kernel(w, x_test, x) @ scaled
        back = scaled[:, None] * (z > 0) * w["W1"]
        w = {"W0": w["W0"] + back.mT @ x, "W1": w["W1"] + (scaled @ active)[None]}
    change = relu_net(w, x_test) - f0
    gram = relu_kernel(w, x, x)
    regression = kernel_predict(0.5 * (gram + gram.mT), relu_kernel(w, x_test, x), y)
    f = relu_net(w, x_test)
    return {
        "integral": float((total - change).norm() / change.norm()),
        "regression": float((f - regression).norm() / f.norm()),
    }
