r"""Measurements on the model and its flow: identities, limits and convergence.

Every function answers one question of the chapter on the flow with a few numbers, on
networks small enough for seconds. Sources are equations of geiger2020.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lazyrich.dynamics import Status, StepRule, frozen_flow, momentum_flow
from lazyrich.kernels import kernel_change, ntk
from lazyrich.networks import FullyConnected
from lazyrich.studies.tools.statistics import loglog_slope

F64 = torch.float64


def tangent_kernel_routes(x: Tensor, seed: int = 0) -> dict[str, float]:
    """Eq. 1 three ways: layer sum, per-example Jacobians, and products J (J^T e_mu).

    Args:
        x: inputs (n, d).

    Returns:
        ``mismatch``, the largest difference relative to the largest entry, and
        ``smallest_eigenvalue`` relative to the largest one, over depths, widths and
        activations.
    """
    mismatch, smallest = 0.0, math.inf
    for L, h, name in ((1, 16, "softplus"), (2, 64, "relu"), (5, 32, "softplus")):
        net = FullyConnected(x.shape[1], h, L, name)
        w = net.init(seed)
        layers = ntk(net, w, x)
        jacobians = ntk(lambda p, z, net=net: net(p, z), w, x)
        _, vjp, *_ = torch.func.vjp(lambda p, net=net: net(p, x), w)
        columns = []
        for unit in torch.eye(len(x), dtype=F64):
            (direction,) = vjp(unit)
            point = {k: v.detach() for k, v in w.items()}
            _, column, *_ = torch.func.jvp(
                lambda p, net=net: net(p, x), (point,), (direction,)
            )
            columns.append(column)
        products = torch.stack(columns, 1)
        scale = float(layers.abs().max())
        for other in (jacobians, products):
            mismatch = max(mismatch, float((layers - other).abs().max()) / scale)
        s = torch.linalg.eigvalsh(layers)
        smallest = min(smallest, float(s[0] / s[-1]))
    return {"mismatch": mismatch, "smallest_eigenvalue": smallest}


def architecture(x: Tensor, seed: int = 0) -> dict[str, float]:
    """Eqs. 20-22: number of parameters, a loop over neurons, and unit pre-activations.

    Args:
        x: inputs (n, d) of unit variance a component.
    """
    printed = {100: 41601, 200: 163201, 400: 646401, 800: 2572801}
    off = max(
        abs(FullyConnected(10, h, 5).n_params - count) for h, count in printed.items()
    )
    net = FullyConnected(x.shape[1], 6, 3)
    w = net.init(seed)
    sigma = net.sigma
    mismatch = 0.0
    for point, f in zip(x[:5], net(w, x[:5]), strict=True):
        z = point
        for layer in range(net.L + 1):
            z = torch.stack(
                [
                    (row * z).sum() / math.sqrt(len(z)) + b
                    for row, b in zip(w[f"W{layer}"], w[f"B{layer}"], strict=True)
                ]
            )
            z = sigma(z) if layer < net.L else z
        mismatch = max(mismatch, float((z[0] - f).abs()))
    wide = FullyConnected(x.shape[1], 800, 5)
    unit = x / x.norm(dim=1, keepdim=True) * math.sqrt(x.shape[1])
    last = wide.preactivations(wide.init(seed), unit)[-1]
    return {
        "parameters_off": float(off),
        "mismatch": mismatch,
        "rms_preactivation": float(last.square().mean().sqrt()),
    }


def scales_at_start(
    x: Tensor, widths: Sequence[int], L: int = 5, seeds: int = 8
) -> dict[str, float]:
    """Sec. 6: exponents in h of rms z~ and rms df/dz~, worst layer against 0 and -1/2."""
    pre, back = [], []
    for h in widths:
        net = FullyConnected(x.shape[1], h, L)
        w = net.init(0, members=seeds)
        pre.append([_rms(z) for z in net.preactivations(w, x)])
        factors = net.tangent_factors(w, x)
        back.append([_rms(t.d) for t in factors if t.d is not None])
    h = np.array(widths, dtype=float)
    pre_slopes = [loglog_slope(h, column) for column in np.array(pre).T]
    back_slopes = [loglog_slope(h, column) for column in np.array(back).T]
    return {
        "preactivation": max(pre_slopes, key=abs),
        "gradient": max(back_slopes, key=lambda s: abs(s + 0.5)),
    }


def kernel_fluctuations(
    x: Tensor, widths: Sequence[int], L: int, seeds: int
) -> tuple[list[float], Tensor]:
    """Relative spread of the initial kernel over seeds at every width, and the mean
    kernel at the last one: Theta(w0) tends to a deterministic limit as h^(-1/2)."""
    spread = []
    mean = x.new_zeros(())
    for h in widths:
        net = FullyConnected(x.shape[1], h, L)
        theta = ntk(net, net.init(0, members=seeds), x)
        mean = theta.mean(0)
        away = (theta - mean).square().sum((1, 2)).mean().sqrt()
        spread.append(float(away / mean.norm()) * math.sqrt(seeds / (seeds - 1)))
    return spread, mean


def velocity_of_the_predictor(
    x: Tensor, y: Tensor, alphas: Sequence[float], seed: int = 0
) -> float:
    """Eq. 5: largest relative difference between (F(dt) - F(0))/dt of one small step and
    -(1/n) sum_mu l'(F_mu) Theta, which holds no explicit power of alpha."""
    net = FullyConnected(x.shape[1], 64, 2)
    w = net.init(seed)
    expected = ntk(net, w, x) @ y / len(y)
    worst = 0.0
    for alpha in alphas:
        # alpha (f - f0) carries a rounding error of alpha * 1e-16: stay well above it
        rule = StepRule(1e-6 * max(1.0, alpha / 100), 1e-7)
        flow = momentum_flow(
            net, w, x, y, alpha, max_steps=1, rule=rule, mu=None, tau=0.0
        )
        got = flow.F[0, -1] / float(flow.t_end[0])
        worst = max(worst, float((got - expected).norm() / expected.norm()))
    return worst


def half_loss_times(
    x: Tensor, y: Tensor, alphas: Sequence[float], h: int = 100, L: int = 2
) -> list[float]:
    """t1 of one net for several alphas."""
    net = FullyConnected(x.shape[1], h, L)
    flow = momentum_flow(net, net.init(0), x, y, list(alphas), stop_loss=0.5)
    return flow.t1.tolist()


def distance_to_gradient_flow(taus: Sequence[float]) -> float:
    """Eq. 6: log-log slope of the distance to gradient flow against a fixed memory time,
    for a model linear in its weights and square loss at t = 1/2."""
    x = torch.tensor([[1.0, 0.3], [0.2, 0.8]], dtype=F64)
    y = torch.tensor([1.0, -1.0], dtype=F64)

    def end(tau: float) -> Tensor:
        flow = momentum_flow(
            lambda w, z: z @ w["w"], {"w": torch.zeros(2, dtype=F64)}, x, y, 1.0,
            loss="square", mu=None, tau=tau, max_time=0.5,
            rule=StepRule(3e-4, math.inf),
        )  # fmt: skip
        return flow.F[0, -1]

    at_rest = end(0.0)
    return loglog_slope(
        np.array(taus), np.array([float((end(t) - at_rest).norm()) for t in taus])
    )


def memory_and_exponents(
    x: Tensor, y: Tensor, mus: Sequence[float], alpha_mf: Sequence[float], seeds: int
) -> dict[float, tuple[np.ndarray, np.ndarray]]:
    """For each mu the slopes of kernel change and weight change against sqrt(h) alpha in
    the feature regime, (seeds,) each, of the same nets."""
    h, found = 30, {}
    net = FullyConnected(x.shape[1], h, 5)
    w = net.init([s for _ in alpha_mf for s in range(seeds)])
    alpha = [a / math.sqrt(h) for a in alpha_mf for _ in range(seeds)]
    log_a = np.log(np.array(alpha_mf))
    for mu in mus:
        flow = momentum_flow(
            net, w, x, y, alpha, mu=mu, stop_loss=0.1,
            observe={"kernel": kernel_change(x)},
        )  # fmt: skip
        kernel, weights = (
            np.polyfit(log_a, v.log().reshape(len(alpha_mf), seeds).numpy(), 1)[0]
            for v in (flow.end("kernel"), flow.end("weight_change"))
        )
        found[mu] = kernel, weights
    return found


def mean_difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """|mean of a - b| over paired seeds, and its standard error."""
    paired = a - b
    return abs(float(paired.mean())), float(paired.std(ddof=1) / math.sqrt(len(paired)))


def linearised_model(
    x: Tensor, y: Tensor, seed: int = 0
) -> tuple[dict[str, float], tuple[list[float], list[float]]]:
    """Eqs. 23-24: the linearised model against products with the gradient, and the slope
    of its remainder in the size of the displacement.

    Returns:
        ``mismatch`` and ``remainder_slope``, and the displacements and remainders.
    """
    net = FullyConnected(x.shape[1], 32, 3)
    w = net.init(seed)
    direction = net.init(seed + 1)
    with torch.no_grad():
        f, tangent, *_ = torch.func.jvp(lambda p: net(p, x), (w,), (direction,))
        # the same derivative, from per-example gradients
        pull = net.pullback(w, x)[1]
        rows = []
        for unit in torch.eye(len(x), dtype=F64):
            grads = pull(unit)
            rows.append(sum(float((grads[k] * direction[k]).sum()) for k in grads))
        mismatch = float((tangent - torch.tensor(rows, dtype=F64)).abs().max())
        sizes, remainders = [], []
        for size in (1e-2, 1e-3, 1e-4):
            moved = {k: v + size * direction[k] for k, v in w.items()}
            rest = net(moved, x) - f - size * tangent
            sizes.append(size)
            remainders.append(float(rest.norm()))
    slope = loglog_slope(np.array(sizes), np.array(remainders))
    quantities = {"mismatch": mismatch, "remainder_slope": slope}
    return quantities, (sizes, remainders)


def weight_space_against_function_space(x: Tensor, y: Tensor, seed: int = 0) -> float:
    """Eqs. 25-26: a linearised net integrated in its weights and in its outputs with the
    same steps; largest difference of the training outputs over a whole run."""
    net = FullyConnected(x.shape[1], 64, 2)
    w = net.init(seed)
    with torch.no_grad():
        jac = torch.func.jacrev(lambda p: net(p, x))(w)
    features = torch.cat([j.reshape(len(x), -1) for j in jac.values()], 1)
    options: dict[str, Any] = dict(
        rule=StepRule(0.05, math.inf), stop_loss=0.01, max_steps=5000
    )
    start = {"w": torch.zeros(features.shape[1], dtype=F64)}
    weights = momentum_flow(lambda p, z: z @ p["w"], start, features, y, 1.0, **options)
    outputs = frozen_flow(features @ features.T, y, **options)
    scale = float(outputs.F.abs().max())
    return float((weights.F - outputs.F).abs().max()) / scale


def lazy_span(
    x: Tensor, y: Tensor, x_test: Tensor, alphas: Sequence[float], seed: int = 0
) -> tuple[float, list[float]]:
    """Sec. 1: how far test outputs leave the span of the training points' kernels.

    Returns:
        relative residual of the frozen dynamics, and of the net at every alpha.
    """
    net = FullyConnected(x.shape[1], 128, 2)
    w = net.init(seed)
    theta, cross = ntk(net, w, x), ntk(net, w, x_test, x)
    options: dict[str, Any] = dict(stop_loss=0.1)

    def residual(F: Tensor, F_test: Tensor) -> float:
        c = torch.linalg.solve(theta, F)
        return float((F_test - cross @ c).norm() / F_test.norm())

    frozen = frozen_flow(theta, y, cross, **options)
    at_limit = residual(frozen.end("F")[0], frozen.end("F_test")[0])
    flow = momentum_flow(net, w, x, y, list(alphas), x_test=x_test, **options)
    ends = zip(flow.end("F"), flow.end("F_test"), strict=True)
    found = [residual(F, F_test) for F, F_test in ends]
    return at_limit, found


def hinge_reaches_zero(
    x: Tensor, y: Tensor, widths: Sequence[int], alpha_mf: Sequence[float]
) -> tuple[float, float, int]:
    """Sec. 2: share of runs whose hinge loss ends at exactly zero, the largest loss left,
    and the largest number of steps."""
    fitted, left, steps = [], 0.0, 0
    for h in widths:
        net = FullyConnected(x.shape[1], h, 2)
        alpha = [a / math.sqrt(h) for a in alpha_mf]
        flow = momentum_flow(net, net.init(0), x, y, alpha, mu=30.0)
        fitted += [status is Status.FITTED for status in flow.status]
        left = max(left, float(flow.loss_end.max()))
        steps = max(steps, int(flow.steps.max()))
    return float(np.mean(fitted)), left, steps


def tolerance_study(
    x: Tensor,
    y: Tensor,
    alpha_mf: Sequence[float],
    rules: dict[str, StepRule],
    seeds: int,
    h: int = 30,
    L: int = 5,
    stop_loss: float = 0.1,
) -> dict[str, dict[str, np.ndarray]]:
    """The same runs under several step rules.

    Returns:
        for every rule ``t1`` and ``kernel_change``, each (len(alpha_mf), seeds), and
        ``largest_step``.
    """
    net = FullyConnected(x.shape[1], h, L)
    w = net.init([s for _ in alpha_mf for s in range(seeds)])
    alpha = [a / math.sqrt(h) for a in alpha_mf for _ in range(seeds)]
    observe = {"kernel_change": kernel_change(x)}
    found = {}
    for name, rule in rules.items():
        flow = momentum_flow(
            net, w, x, y, alpha, stop_loss=stop_loss, rule=rule, observe=observe
        )
        shape = (len(alpha_mf), seeds)
        found[name] = {
            "t1": flow.t1.reshape(shape).numpy(),
            "kernel_change": flow.end("kernel_change").reshape(shape).numpy(),
            "largest_step": np.array(float(flow.largest_output_change.max())),
        }
    return found


def off_the_finest(
    runs: dict[str, dict[str, np.ndarray]], quantity: str, rule: str, finest: str
) -> tuple[np.ndarray, np.ndarray]:
    """Ratio of a quantity to the finest run, as (mean, standard error) of its logarithm
    over seeds, for every value of alpha."""
    logs = np.log(runs[rule][quantity] / runs[finest][quantity])
    return logs.mean(1), logs.std(1, ddof=1) / math.sqrt(logs.shape[1])


def linear_response(
    x: Tensor, y: Tensor, x_kernel: Tensor, widths: Sequence[int], seeds: int, L: int
) -> np.ndarray:
    """First-order kernel change of the lazy regime, times alpha: (widths, seeds).

    Relative to the kernel; alpha times it is what 1/(h alpha) or 1/(sqrt(h) alpha)
    predict.
    """
    found = np.empty((len(widths), seeds))
    for row, h in enumerate(widths):
        net = FullyConnected(x.shape[1], h, L)
        for seed in range(seeds):
            w = net.init(seed)
            change = first_order_change(net, w, x, y, x_kernel)
            found[row, seed] = float(change.norm() / ntk(net, w, x_kernel).norm())
    return found


def first_order_change(
    net: FullyConnected, w: Mapping[str, Tensor], x: Tensor, y: Tensor, x_kernel: Tensor
) -> Tensor:
    """Derivative of the kernel (p, p) along the first move of the weights, times alpha.

    Early in training the weights move along dw = (1/alpha) J^T c with c_mu = y_mu / n,
    whatever alpha. The derivative along it is a central difference.
    """
    with torch.no_grad():
        dw = net.pullback(w, x)[1](y / len(y))
        size = 1e-4 / math.sqrt(sum(float(v.square().mean()) for v in dw.values()))
        plus = ntk(net, {k: v + size * dw[k] for k, v in w.items()}, x_kernel)
        minus = ntk(net, {k: v - size * dw[k] for k, v in w.items()}, x_kernel)
        return (plus - minus) / (2 * size)


def parity(
    x: Tensor, y: Tensor, x_kernel: Tensor, h: int, L: int, seed: int = 0
) -> tuple[float, float]:
    """What a flip of sign of the last layer does to the kernel and to its first change.

    Returns:
        relative size of Theta(flipped) - Theta, and of dTheta(flipped) + dTheta: both are
        zero if the kernel is even under the flip and its first-order change odd.
    """
    net = FullyConnected(x.shape[1], h, L)
    w = net.init(seed)
    flipped = {k: -v if k in (f"W{L}", f"B{L}") else v for k, v in w.items()}
    kernels = [ntk(net, v, x_kernel) for v in (w, flipped)]
    changes = [first_order_change(net, v, x, y, x_kernel) for v in (w, flipped)]
    even = (kernels[1] - kernels[0]).norm() / kernels[0].norm()
    odd = (changes[1] + changes[0]).norm() / changes[0].norm()
    return float(even), float(odd)


def _rms(z: Tensor) -> float:
    return float(z.square().mean().sqrt())


def inflated_kernel(x: Tensor, factor: float = 2.0, L: int = 5) -> float:
    """Eq. 14 on a homogeneous net: error of Theta(lambda w) = lambda^(2L) Theta."""
    net = FullyConnected(x.shape[1], 32, L, activation="relu", bias=False)
    w = net.init(0)
    grown = ntk(net, {k: factor * v for k, v in w.items()}, x)
    expected = factor ** (2 * L) * ntk(net, w, x)
    return float((grown - expected).norm() / expected.norm())
