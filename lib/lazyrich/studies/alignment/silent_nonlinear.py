r"""Measurements of silent alignment in nonlinear nets (atanasov2022, Secs. 2, 5, App. H).

A net from small weights is trained on the square loss (1/2n) sum (f - y)^2; along the way
three clocks are read: loss, Frobenius norm of the tangent kernel, and its alignment with
the targets. Afterwards the net is compared with kernel regression, once with its initial
and once with its final kernel.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check, rng
from lazyrich.core.pullback import pullback
from lazyrich.data import Dataset, principal_components
from lazyrich.kernels import alignment, kernel_predict, ntk
from lazyrich.networks import MLP
from lazyrich.studies.tools.curves import first_crossing

Params = dict[str, Tensor]
F64 = torch.float64


@dataclass(frozen=True)
class Run:
    """One training, with what it is compared to.

    Attributes:
        t: (k,) steps times learning rate, at the records.
        loss: (k,) over its start.
        alignment, norm: (k,) of the tangent kernel on the training set.
        f_test: (p,) outputs of the trained net on test points.
        initial, final: (p,) kernel regression with the initial and the final kernel.
        error: (k,) share of test points on the wrong side, for targets +-1.
        steps: taken.
        weights: squared norm of every parameter at the end.
    """

    t: np.ndarray
    loss: np.ndarray
    alignment: np.ndarray
    norm: np.ndarray
    f_test: np.ndarray
    initial: np.ndarray
    final: np.ndarray
    error: np.ndarray
    steps: int
    weights: dict[str, float]

    def time(self, level: float) -> float:
        """First time at which the loss is at ``level`` of its start.

        Raises:
            ValueError: it never is.
        """
        return first_crossing(self.t, -self.loss, -level)

    def alignment_at(self, level: float) -> float:
        """Alignment when the loss is at ``level``."""
        return float(np.interp(self.time(level), self.t, self.alignment))

    def norm_at(self, level: float) -> float:
        """Kernel norm when the loss is at ``level``, over its final value."""
        return float(np.interp(self.time(level), self.t, self.norm) / self.norm[-1])

    @property
    def alignment_time(self) -> float:
        """First time with 95 % of the alignment that the kernel has at 90 % loss."""
        return first_crossing(self.t, self.alignment, 0.95 * self.alignment_at(0.9))

    @property
    def norm_span(self) -> float:
        """Time in which the norm goes from 10 % to 90 % of its final value."""
        up, down = (
            first_crossing(self.t, self.norm, q * self.norm[-1]) for q in (0.9, 0.1)
        )
        return up - down

    @property
    def drift(self) -> float:
        """Largest relative distance from the final alignment once a tenth of the loss
        is gone."""
        late = self.t >= self.time(0.9)
        end = self.alignment[-1]
        values = np.append(self.alignment[late], self.alignment_at(0.9))
        return float(np.abs(values - end).max() / end)

    def r2(self, kernel: str) -> float:
        """R^2 of regression with the ``initial`` or ``final`` kernel against the net."""
        return r_squared(self.f_test, getattr(self, kernel))

    def correlation(self, kernel: str) -> float:
        """Pearson's r of the same."""
        return float(np.corrcoef(self.f_test, getattr(self, kernel))[0, 1])


def r_squared(f: np.ndarray, predicted: np.ndarray) -> float:
    """1 - |f - predicted|^2 / |f - mean f|^2."""
    return float(1.0 - np.square(f - predicted).sum() / np.square(f - f.mean()).sum())


def train(
    net: Callable[..., Tensor],
    w: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    x_test: Tensor,
    y_test: Tensor,
    *,
    lr: float,
    optimiser: str = "gradient",
    stop: float = 1e-6,
    max_steps: int = 100_000,
    ratio: float = 1.15,
    change: float = 0.04,
    every: int | None = None,
    rates: Mapping[str, float] | None = None,
) -> Run:
    """Full-batch training with the tangent kernel recorded along the way.

    Args:
        net, w: a network of ours or any callable f(w, x) with one output.
        x, y: training inputs and targets (n,); x_test, y_test: the same for testing.
        lr: step length on the loss (1/2n) sum (f - y)^2.
        optimiser: ``gradient`` or ``adam`` (torch's, default betas).
        stop: ends at this share of the initial loss.
        ratio, change: a record is made when the number of steps has grown by this
            factor, or the loss by this share of its start; ``every`` so many steps
            instead, where given.
        rates: multiples of ``lr`` for single parameters, by name.

    Raises:
        ValueError: unknown optimiser, or the loss is still above ``stop`` at the end.
    """
    check.one_of("optimiser", optimiser, ("gradient", "adam"))
    weights: Params = {k: v.detach().clone() for k, v in w.items()}
    multiples = dict(rates or {})
    if unknown := sorted(set(multiples) - set(weights)):
        raise ValueError(f"rates must name parameters of the net, got {unknown}")
    groups = [
        {"params": [value], "lr": lr * multiples.get(name, 1.0)}
        for name, value in weights.items()
    ]
    step_by: torch.optim.Optimizer = (
        torch.optim.SGD(groups) if optimiser == "gradient" else torch.optim.Adam(groups)
    )
    n = len(x)
    records: list[tuple[float, ...]] = []
    first = ntk(net, weights, x)
    initial = _regress(net, weights, x, y, x_test, first)
    next_record, last_loss, start = 0, math.inf, 0.0
    step = 0
    while True:
        f, pull = pullback(net, weights, x)
        loss = float((f - y).square().mean())
        start = start or loss
        done = loss <= stop * start or step >= max_steps
        if step >= next_record or abs(last_loss - loss) > change * start or done:
            theta = first if step == 0 else ntk(net, weights, x)
            with torch.no_grad():
                wrong = float((net(weights, x_test) * y_test <= 0).double().mean())
            records.append(
                (
                    step * lr,
                    loss / start,
                    float(alignment(theta, y)),
                    float(torch.linalg.matrix_norm(theta)),
                    wrong,
                )
            )
            last_loss = loss
            next_record = max(step + 1, math.ceil(step * ratio))
            if every is not None:
                next_record = step + every
        if done:
            break
        grads = pull((f - y) / n)
        for name, value in weights.items():
            value.grad = grads[name]
        step_by.step()
        step += 1
    if records[-1][1] > stop:
        raise ValueError(f"the loss is at {records[-1][1]:.2g} after {step} steps")
    final = _regress(net, weights, x, y, x_test, ntk(net, weights, x))
    with torch.no_grad():
        f_test = net(weights, x_test)
    t, losses, aligned, norm, error = np.array(records).T
    return Run(
        t, losses, aligned, norm, f_test.double().numpy(), initial, final, error, step,
        {name: float(value.square().sum()) for name, value in weights.items()},
    )  # fmt: skip


def _regress(
    net: Any, w: Params, x: Tensor, y: Tensor, x_test: Tensor, theta: Tensor
) -> np.ndarray:
    """k(x_test) K^-1 y in float64, with a relative jitter of 1e-12."""
    cross = ntk(net, w, x_test, x).double()
    theta = theta.double()
    jitter = 1e-12 * float(theta.diagonal().mean())
    return kernel_predict(theta, cross, y.double(), ridge=jitter).numpy()


def partially_whitened(task: Dataset, gamma: float) -> Dataset:
    """The task with inputs X = U S V^T replaced by U S^gamma V^T (Sec. 5).

    Inputs keep their coordinates, pixels for example, so that first-layer weights of
    variance sigma^2 / d mean the same for every gamma. The map is fitted on the centred
    training inputs; directions whose singular value is below 1e-3 of the largest are
    dropped, and the others have mean variance 1. gamma = 0 is white data; the
    covariance's eigenvalues scale as lambda^gamma.
    """
    map_ = principal_components(task.x_train, "all", 1.0 - gamma)
    return replace(
        task,
        x_train=map_(task.x_train) @ map_.basis,
        x_test=map_(task.x_test) @ map_.basis,
    )


def perceptron_run(
    task: Dataset,
    *,
    sigma: float,
    depth: int = 2,
    width: int = 100,
    activation: str = "relu",
    seed: int = 0,
    lr: float = 0.1,
    **options: Any,
) -> Run:
    """``train`` of an MLP on a task with targets +-1.

    Weights are drawn in the coordinates of the inputs. Where training and test inputs
    span fewer directions, gradient steps are taken in an orthonormal frame of the span:
    the same run at a fraction of the cost, as the other components of the first layer
    neither move nor matter. (Adam's steps depend on the frame, so it keeps the inputs'.)
    """
    d = task.x_train.shape[1]
    w = MLP((d, *[width] * (depth - 1), 1), activation, sigma).init(seed)
    x, x_test = task.x_train, task.x_test
    gradient = options.get("optimiser", "gradient") == "gradient"
    frame = _span(x) if gradient else torch.eye(d, dtype=x.dtype)
    if frame.shape[1] < d and _inside(x_test, frame):
        x, x_test = x @ frame, x_test @ frame
        w["W0"] = w["W0"] @ frame
    net = MLP((x.shape[1], *[width] * (depth - 1), 1), activation, sigma)
    return train(net, w, x, task.y_train, x_test, task.y_test, lr=lr, **options)


def _span(x: Tensor) -> Tensor:
    """Orthonormal columns that span the rows of ``x``, (d, rank)."""
    _, singular, rows = torch.linalg.svd(x, full_matrices=False)
    return rows[singular > 1e-9 * singular[0]].mT


def _inside(x: Tensor, frame: Tensor) -> bool:
    """Whether the rows of ``x`` lie in the span of ``frame``."""
    off = x - x @ frame @ frame.mT
    return float(off.norm()) < 1e-9 * float(x.norm())


# ---------------------------------------------------------------- App. H: relative rates


@dataclass(frozen=True)
class Rates:
    """Speeds at the start of training, at one scale of the weights.

    Attributes:
        features: |d(grad f)/dt| / |grad f|; loss: |dL/dt| / L.
    """

    features: float
    loss: float

    @property
    def ratio(self) -> float:
        """The left-hand side of Eq. 62."""
        return self.features / self.loss


def _rate_task(d: int, n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = rng.numpy_generator("silent_nonlinear/rates", seed, d, n)
    x = torch.from_numpy(generator.standard_normal((n, d)))
    u, _, v = torch.linalg.svd(x, full_matrices=False)
    x = math.sqrt(n) * u @ v  # white
    beta = torch.from_numpy(generator.standard_normal(d))
    return x, x @ (beta / beta.norm())


def initial_rates(
    depth: int,
    sigma: float,
    activation: str,
    *,
    d: int = 20,
    width: int = 40,
    n: int = 30,
    seed: int = 0,
) -> Rates:
    """Eqs. 11 and 62: exact speeds of features and loss in the first moment of the flow.

    The Jacobian's derivative along the flow is one forward-mode derivative of it.
    """
    x, y = _rate_task(d, n, seed)
    net = MLP((d, *[width] * (depth - 1), 1), activation, sigma)
    w = net.init(seed)
    f, pull = net.pullback(w, x)
    velocity = pull((y - f) / n)
    jacobian, moved, *_ = torch.func.jvp(
        torch.func.jacrev(lambda p: net(p, x)), (w,), (velocity,)
    )
    size, speed = (
        math.sqrt(sum(float(v.square().sum()) for v in part.values()))
        for part in (jacobian, moved)
    )
    loss = float((f - y).square().sum()) / (2 * n)
    fall = sum(float(v.square().sum()) for v in velocity.values())
    return Rates(speed / size, fall / loss)


def rate_slopes(
    depth: int, activation: str, sigmas: Sequence[float], seeds: int
) -> dict[str, float]:
    """Exponents in sigma of the speeds of features and loss and of their ratio, from
    mean logarithms over seeds."""
    found = [
        [initial_rates(depth, s, activation, seed=k) for k in range(seeds)]
        for s in sigmas
    ]
    log_s = np.log(sigmas)
    return {
        name: float(
            np.polyfit(
                log_s,
                [np.mean([math.log(getattr(r, name)) for r in row]) for row in found],
                1,
            )[0]
        )
        for name in ("features", "loss", "ratio")
    }


def rate_bounds(
    depth: int, activation: str, seeds: int, sigma: float = 0.1
) -> dict[str, np.ndarray]:
    """Eqs. 60 and 61 on small nets: rates over their bounds, (seeds,) each.

    With y in place of y - f (the origin), |d grad f / dt| <= |Hessian| |grad f| |y| and
    |dL/dt| <= |grad f|^2 |y|^2, where |grad f| is the operator norm of the Jacobian
    (n, N) and |Hessian| that of the map of a displacement (N,) to the change of the
    Jacobian (n N,). ``loss_printed`` has one power of |y|, as printed.
    """
    d, width, n = 8, 8, 10
    found: dict[str, list[float]] = {"features": [], "loss": [], "loss_printed": []}
    for seed in range(seeds):
        x, y = _rate_task(d, n, seed)
        y = 3.0 * y  # |y| well away from 1
        net = MLP((d, *[width] * (depth - 1), 1), activation, sigma)
        w = net.init(seed)
        sizes = [v.numel() for v in w.values()]

        def flat(
            theta: Tensor, net: MLP = net, x: Tensor = x, sizes: list[int] = sizes
        ) -> Tensor:
            parts = theta.split(sizes)
            shapes = net.shapes.values()
            named = zip(net.shapes, parts, shapes, strict=True)
            return net({k: p.reshape(s) for k, p, s in named}, x)

        theta = torch.cat([v.flatten() for v in w.values()])
        jacobian = torch.func.jacrev(flat)(theta)
        hessian = torch.func.jacfwd(torch.func.jacrev(flat))(theta)
        velocity = jacobian.mT @ y
        features = float((hessian @ velocity).norm())
        loss = float(velocity @ velocity)
        top = float(torch.linalg.matrix_norm(jacobian, 2))
        curvature = float(torch.linalg.matrix_norm(hessian.flatten(0, 1), 2))
        size = float(y.norm())
        found["features"].append(features / (curvature * top * size))
        found["loss"].append(loss / (top * size) ** 2)
        found["loss_printed"].append(loss / (top**2 * size))
    return {name: np.array(values) for name, values in found.items()}
