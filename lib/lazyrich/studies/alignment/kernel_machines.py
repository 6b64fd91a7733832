r"""Measurements on linear nets as kernel machines (atanasov2022, App. F).

With fewer examples than input dimensions (P < D) many linear functions interpolate. A net
from small weights picks one, regression with its tangent kernel K = x . M x' picks one;
both are vectors, split here into a part inside the span of the training inputs and a
part outside.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check, rng
from lazyrich.dynamics import linear_flow, square_force
from lazyrich.networks import DeepLinear

F64 = torch.float64


@dataclass(frozen=True)
class LinearTask:
    """Noiseless linear targets y = s beta . x on fewer examples than dimensions.

    Attributes:
        x: inputs (n, d).
        beta: unit vector in the span of the inputs, (d,).
        s: strength of the target.
        span: projector on the span, (d, d).
    """

    x: Tensor
    beta: Tensor
    s: float
    span: Tensor

    @property
    def y(self) -> Tensor:
        """Targets (n,)."""
        return self.s * self.x @ self.beta

    @property
    def covariance(self) -> Tensor:
        """(1/n) sum x x^T, (d, d)."""
        return self.x.mT @ self.x / len(self.x)


def linear_task(
    d: int,
    n: int,
    seed: int = 0,
    *,
    singular: tuple[float, float] = (1.0, 1.0),
    s: float = 1.0,
) -> LinearTask:
    """Inputs with chosen singular values, and a teacher inside their span.

    Args:
        d, n: dimension and number of examples, n < d.
        singular: the roots of the covariance's eigenvalues, log-spaced between these
            two; equal ones are whitened data.
        s: strength of the target.

    Raises:
        ValueError: n >= d, or singular values that are not positive.
    """
    check.positive_int("n", n)
    if n >= d:
        raise ValueError(f"n must be below d = {d}, got {n}")
    for value in singular:
        check.real("singular", value, above=0.0)
    generator = rng.numpy_generator("kernel_machines/task", seed, d, n)
    frame, _ = torch.linalg.qr(torch.from_numpy(generator.standard_normal((d, n))))
    turn, _ = torch.linalg.qr(torch.from_numpy(generator.standard_normal((n, n))))
    values = torch.from_numpy(np.geomspace(*singular, n)) * math.sqrt(n)
    draw = torch.from_numpy(generator.standard_normal(n))
    return LinearTask(
        turn @ (values[:, None] * frame.mT),
        frame @ draw / draw.norm(),
        check.real("s", s, above=0.0),
        frame @ frame.mT,
    )


def interpolator(task: LinearTask, metric: Tensor) -> Tensor:
    """b = M X^T (X M X^T)^-1 y, what regression with K = x . M x' learns, (d,)."""
    check.tensor("metric", metric, shape=(task.x.shape[1],) * 2, like=task.x)
    stretched = task.x @ metric
    return stretched.mT @ torch.linalg.solve(stretched @ task.x.mT, task.y)


def spike(direction: Tensor, A: float) -> Tensor:
    """The metric A v v^T + I along the unit vector of ``direction``."""
    v = direction / direction.norm()
    return torch.eye(len(v), dtype=v.dtype) + A * torch.outer(v, v)


def independence_of_the_spike(task: LinearTask, strengths: Sequence[float]) -> float:
    """Eqs. 50-52: largest relative distance of spiked regressions from s beta."""
    expected = task.s * task.beta
    return max(
        _relative(interpolator(task, spike(task.beta, A)), expected) for A in strengths
    )


def other_spikes(task: LinearTask, A: float, seed: int = 0) -> dict[str, float]:
    """Relative change of the regression by spikes along beta, along a random direction
    in the span, and along a random direction of the whole space."""
    generator = rng.numpy_generator("kernel_machines/spike", seed)
    draw = torch.from_numpy(generator.standard_normal(task.x.shape[1]))
    plain = interpolator(task, torch.eye(task.x.shape[1], dtype=F64))
    directions = {
        "along_beta": task.beta,
        "random_in_span": task.span @ draw,
        "random_direction": draw,
    }
    return {
        name: _relative(interpolator(task, spike(direction, A)), plain)
        for name, direction in directions.items()
    }


@dataclass(frozen=True)
class Trained:
    """A linear net after training: its end-to-end map and that of its kernel machine.

    Attributes:
        net: W^(L-1) ... W^0, (d,).
        machine: regression with the final tangent kernel, (d,).
    """

    net: Tensor
    machine: Tensor


def trained(
    task: LinearTask, depth: int, width: int, sigma: float, seed: int, time: float
) -> Trained:
    """Train a linear net of ``depth`` layers for ``time``, and regress with its kernel."""
    d = task.x.shape[1]
    net = DeepLinear((d, *[width] * (depth - 1), 1), sigma=sigma)
    force = square_force(task.s * task.beta, task.covariance)
    end = linear_flow(net.init(seed), force, [time], rtol=1e-11).at(-1)
    return Trained(net.product(end), interpolator(task, net.tangent_matrix(end)))


def distance_to_minimum_norm(
    task: LinearTask, depth: int, sigmas: Sequence[float], seed: int = 0
) -> tuple[np.ndarray, float]:
    """Eq. 49: |net - X^T (X X^T)^-1 y| / s for every sigma, and the largest part of it
    inside the span. The minimum-norm interpolator is s beta, as beta lies in the span."""
    distance, inside = [], 0.0
    slowest = float(torch.linalg.eigvalsh(task.covariance)[-len(task.x)])
    for sigma in sigmas:
        time = _learning_time(depth, sigma) + 25.0 / slowest
        net = trained(task, depth, 20, sigma, seed, time).net
        off = net - task.s * task.beta
        distance.append(float(off.norm()) / task.s)
        inside = max(inside, float((task.span @ off).norm()) / task.s)
    return np.array(distance), inside


def off_span(
    task: LinearTask, depth: int, sigmas: Sequence[float], seeds: int, width: int = 20
) -> dict[str, np.ndarray]:
    """What net and kernel machine keep outside the span of the training inputs.

    Returns:
        ``net`` |w_off|, ``difference`` |net - machine|, ``share`` of w_off that the
        machine reproduces (projection on it), and ``in_span``, the difference inside;
        each (sigmas, seeds).
    """
    shape = (len(sigmas), seeds)
    found = {k: np.empty(shape) for k in ("net", "difference", "share", "in_span")}
    outside = torch.eye(task.x.shape[1], dtype=F64) - task.span
    for i, sigma in enumerate(sigmas):
        for seed in range(seeds):
            time = _learning_time(depth, sigma) + 25.0
            pair = trained(task, depth, width, sigma, seed, time)
            net, machine = outside @ pair.net, outside @ pair.machine
            apart = pair.net - pair.machine
            found["net"][i, seed] = net.norm()
            found["difference"][i, seed] = apart.norm()
            found["share"][i, seed] = (machine @ net) / (net @ net)
            found["in_span"][i, seed] = (task.span @ apart).norm()
    return found


def regression_along_training(
    task: LinearTask, depth: int, sigma: float, width: int = 20, seed: int = 0
) -> dict[str, np.ndarray]:
    """What regression with the kernel of the moment learns, while the net trains.

    Returns:
        ``t``; ``loss`` over its start; ``net`` and ``regression``, the relative distances
        from the minimum-norm interpolator s beta.
    """
    d = task.x.shape[1]
    net = DeepLinear((d, *[width] * (depth - 1), 1), sigma=sigma)
    slowest = float(torch.linalg.eigvalsh(task.covariance)[-len(task.x)])
    times = np.linspace(0.0, _learning_time(depth, sigma) + 4.0 / slowest, 80)
    force = square_force(task.s * task.beta, task.covariance)
    flow = linear_flow(net.init(seed), force, times, rtol=1e-10)
    wanted = task.s * task.beta
    metrics = net.tangent_matrix(flow.w)
    product = flow.product[:, 0]
    missed = (product - wanted) @ task.x.mT
    return {
        "t": times,
        "loss": (missed.square().sum(1) / missed[0].square().sum()).numpy(),
        "net": np.array([_relative(p, wanted) for p in product]),
        "regression": np.array(
            [_relative(interpolator(task, m), wanted) for m in metrics]
        ),
    }


def norm_of_the_learned_direction(
    depth: int, sigma: float, d: int = 25, width: int = 20, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """App. F, end: 1 / (1 + A(t)) along a run, where 1 + A is the largest over the
    smallest eigenvalue of the tangent kernel; inputs are white, P >= D.

    Returns:
        times in units of the learning time, and the norm at those times.
    """
    net = DeepLinear((d, *[width] * (depth - 1), 1), sigma=sigma)
    teacher = torch.zeros(d, dtype=F64)
    teacher[0] = 1.0
    scale = _learning_time(depth, sigma)
    times = np.linspace(0.0, scale + 15.0, 200)
    flow = linear_flow(net.init(seed), teacher, times, rtol=1e-10)
    spectrum = torch.linalg.eigvalsh(net.tangent_matrix(flow.w))
    return times / scale, (spectrum[:, 0] / spectrum[:, -1]).numpy()


def _learning_time(depth: int, sigma: float) -> float:
    """Generous time to leave the origin for s = 1, by the laws for small ``sigma``."""
    if depth == 2:
        return 2.0 * math.log(1.0 / sigma) + 4.0
    return 4.0 / (depth - 2) * sigma ** (2 - depth) + 4.0


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())
