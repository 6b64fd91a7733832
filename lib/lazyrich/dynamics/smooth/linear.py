r"""Gradient flow of deep linear networks, in closed form for the right-hand side.

All a linear net W^(D-1) ... W^0 learns from is the negative gradient G of the loss with
respect to its end-to-end map, so that (atanasov2022, Eqs. 4 and 9)

    dW^l/dt = rate_l (W^(D-1) ... W^(l+1))^T G (W^(l-1) ... W^0)^T.

For the square loss with teacher B and covariance Sigma = (1/n) sum x x^T it closes
without any data, G = (B - product) Sigma; any other loss enters through ``force``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.runge_kutta import accuracy, increasing_times, integrate
from lazyrich.core.spectrum import modes

_MOST = 300_000
"""Evaluations after which a flow is given up: matrices are cheap to multiply."""

Force = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class LinearFlow:
    """A trajectory of a deep linear net.

    Attributes:
        t: (m,) times.
        w: the layers along the way, ``W0`` ... each (m, fan_out, fan_in).
        product: the end-to-end map, (m, c, d).
        evaluations: how often the right-hand side was computed.
    """

    t: Tensor
    w: dict[str, Tensor]
    product: Tensor
    evaluations: int

    def at(self, index: int) -> dict[str, Tensor]:
        """The weights at one time."""
        return {name: value[index] for name, value in self.w.items()}


def square_force(target: Tensor, covariance: Tensor | None = None) -> Force:
    """The force (B - product) Sigma of the loss 1/2 tr (B - P) Sigma (B - P)^T.

    Args:
        target: the teacher B, (d,) or (c, d).
        covariance: Sigma (d, d), symmetric, positive semi-definite; the identity
            (whitened data) by default.

    Raises:
        TypeError, ValueError: tensors of the wrong form.

    >>> from lazyrich.dynamics import square_force
    >>> square_force(torch.ones(2))(np.zeros((1, 2)))
    array([[1., 1.]])
    """
    return _square_force("target", target, covariance)


def _square_force(name: str, target: Tensor, covariance: Tensor | None) -> Force:
    target = check.constant(name, target, ndim=(1, 2), dtypes=check.SOLVED)
    if not target.numel():
        raise ValueError(f"{name} must not be empty, got shape {tuple(target.shape)}")
    b = target.reshape(-1, target.shape[-1]).numpy().astype(np.float64)
    if covariance is None:
        return lambda product: b - product
    covariance = check.kernel("covariance", covariance, n=b.shape[1])
    check.positive("covariance", modes("covariance", covariance)[0])
    sigma = covariance.numpy().astype(np.float64)
    return lambda product: (b - product) @ sigma


def data_force(
    x: Tensor, y: Tensor, slope: Callable[[Tensor, Tensor], Tensor]
) -> Force:
    """The force -(1/n) sum_mu l'(f_mu, y_mu) x_mu^T of a pointwise loss on data.

    Args:
        x: inputs (n, d).
        y: targets (n,), one output.
        slope: d l / d f, element by element, such as ``losses.loss("square").slope``.

    Raises:
        TypeError, ValueError: tensors of the wrong form.

    >>> from lazyrich.dynamics import data_force
    >>> force = data_force(torch.eye(2), torch.ones(2), lambda f, y: f - y)
    >>> force(np.zeros((1, 2), dtype=np.float32))
    array([[0.5, 0.5]], dtype=float32)
    """
    x = check.constant("x", x, ndim=2, dtypes=check.SOLVED)
    if not len(x):
        raise ValueError("x must hold at least one input, got none")
    y = check.constant("y", y, shape=(len(x),), like=x)
    check.function("slope", slope)
    points = x.numpy()

    def force(product: np.ndarray) -> np.ndarray:
        f = torch.from_numpy(points @ product[0])
        return -(slope(f, y).numpy() @ points)[None] / len(points)

    return force


def linear_velocity(
    w: Mapping[str, Tensor],
    force: Force | Tensor,
    rates: Sequence[float] | None = None,
) -> dict[str, Tensor]:
    """dW^l/dt of every layer at one point of weight space (atanasov2022, Eqs. 4 and 9).

    Args:
        w, force, rates: as in ``linear_flow``.

    Raises:
        TypeError, ValueError: as in ``linear_flow``.

    >>> from lazyrich.dynamics import linear_velocity
    >>> w = {"W0": torch.ones(1, 2, dtype=torch.float64)}
    >>> linear_velocity(w, torch.zeros(2, dtype=torch.float64))["W0"].tolist()
    [[-1.0, -1.0]]
    """
    w, eta = _checked(w, rates)
    pull = _checked_force(w, force)
    chain = [w[f"W{layer}"].numpy() for layer in range(len(w))]
    grads = [np.empty_like(weight) for weight in chain]
    _velocity(chain, pull, eta, grads)
    return {f"W{layer}": torch.from_numpy(g) for layer, g in enumerate(grads)}


def linear_flow(
    w: Mapping[str, Tensor],
    force: Force | Tensor,
    t: Sequence[float] | np.ndarray | Tensor,
    *,
    rates: Sequence[float] | None = None,
    rtol: float = 1e-9,
) -> LinearFlow:
    """Integrate a deep linear net in continuous time.

    The loss is the one whose force is given: the *mean* over examples for ``data_force``,
    and for ``square_force`` with the covariance (1/n) sum x x^T.

    A Runge-Kutta method of order 8 with adaptive steps; its absolute tolerance is
    ``rtol`` times the typical size of the initial weights, so that a start at scale
    1e-6 is as accurate as one at scale 1.

    Args:
        w: initial layers ``W0`` ... ``W{D-1}``, float64, on the CPU, no leading axis.
        force: product (c, d) -> minus the gradient of the loss with respect to it, as
            from ``square_force`` or ``data_force``; a tensor B, (d,) or (c, d), is short
            for ``square_force(B)``.
        t: times, increasing, the first >= 0; the flow starts at time 0.
        rates: learning rate of every layer, from the input up; ones by default.
        rtol: relative accuracy of a step.

    Raises:
        TypeError, ValueError: layers that do not chain, a force of another shape than
            their product, times that do not increase, rates that are not positive.
        RuntimeError: the integrator gave up on the times ``t``.

    >>> from lazyrich.dynamics import linear_flow
    >>> w = {"W0": torch.zeros(1, 2, dtype=torch.float64)}
    >>> flow = linear_flow(w, torch.ones(2, dtype=torch.float64), [0.0, 1.0])
    >>> [round(v, 6) for v in flow.product[1, 0].tolist()]
    [0.632121, 0.632121]
    """
    w, eta = _checked(w, rates)
    names = [f"W{layer}" for layer in range(len(w))]
    rtol = accuracy("rtol", rtol)
    pull = _checked_force(w, force)
    times = increasing_times(t)
    shapes = [tuple(w[name].shape) for name in names]
    ends = np.cumsum([rows * columns for rows, columns in shapes])
    starts = ends - [rows * columns for rows, columns in shapes]

    def layers(flat: np.ndarray) -> list[np.ndarray]:
        return [
            flat[a:b].reshape(shape)
            for a, b, shape in zip(starts, ends, shapes, strict=True)
        ]

    def velocity(_time: float, flat: np.ndarray) -> np.ndarray:
        out = np.empty_like(flat)
        _velocity(layers(flat), pull, eta, layers(out))
        return out

    start = np.concatenate([w[name].numpy().ravel() for name in names])
    size = float(np.sqrt(np.mean(start**2)))
    path, evaluations = integrate(velocity, start, times, rtol, size, _MOST)
    found = {
        name: torch.from_numpy(path[:, a:b].reshape(-1, *shape).copy())
        for name, a, b, shape in zip(names, starts, ends, shapes, strict=True)
    }
    product = found["W0"]
    for name in names[1:]:
        product = found[name] @ product
    return LinearFlow(torch.from_numpy(times), found, product, evaluations)


def _velocity(
    chain: list[np.ndarray], pull: Force, eta: list[float], out: list[np.ndarray]
) -> None:
    below = [chain[0]]
    for weight in chain[1:]:
        below.append(weight @ below[-1])
    back = pull(below[-1])  # (product of the layers above)^T G, from the top down
    for k in range(len(chain) - 1, 0, -1):
        np.matmul(back, below[k - 1].T, out=out[k])
        out[k] *= eta[k]
        back = chain[k].T @ back
    np.multiply(back, eta[0], out=out[0])


def _checked_force(w: Mapping[str, Tensor], force: Force | Tensor) -> Force:
    """The force as a function, after a look at what it gives for the product of ``w``.

    Raises:
        TypeError, ValueError: no function and no tensor, or another shape or dtype than
            the product has.
    """
    tensor = isinstance(force, Tensor)
    given = _square_force("force", force, None) if tensor else force
    pull: Force = check.function("force", given)
    shape = (w[f"W{len(w) - 1}"].shape[0], w["W0"].shape[1])
    try:
        seen = np.asarray(pull(np.zeros(shape))).shape
    except (ValueError, IndexError, RuntimeError):  # arrays that do not fit together
        seen = None
    if seen != shape:
        raise ValueError(
            f"force must be of the shape of the product of w, {shape}, got {seen}"
        )
    return pull


def _checked(
    w: Mapping[str, Tensor], rates: Sequence[float] | None
) -> tuple[dict[str, Tensor], list[float]]:
    """The layers, without gradients, and one rate each, if the layers chain."""
    if not isinstance(w, Mapping):
        raise TypeError(f"w must be a dict of tensors, got {type(w).__name__}")
    names = [f"W{layer}" for layer in range(len(w))]
    if not w or set(w) != set(names):
        raise ValueError(f"w must hold W0, W1, ...; got {check.shown(list(w))}")
    w = {name: check.constant(f"w[{name!r}]", w[name], ndim=2) for name in names}
    for name in names:
        if w[name].dtype != torch.float64 or w[name].device.type != "cpu":
            raise ValueError(
                f"w[{name!r}] must be float64 on the CPU, got {w[name].dtype} on "
                f"{w[name].device}"
            )
        if not w[name].numel():
            raise ValueError(
                f"w[{name!r}] must not be empty, got {tuple(w[name].shape)}"
            )
    for lower, upper in zip(names[:-1], names[1:], strict=True):
        if w[upper].shape[1] != w[lower].shape[0]:
            raise ValueError(
                f"w must chain: {upper} {tuple(w[upper].shape)} does not fit on "
                f"{lower} {tuple(w[lower].shape)}"
            )
    if rates is None:
        return w, [1.0] * len(names)
    try:
        each = list(rates)
    except TypeError:
        each = []
    if isinstance(rates, str) or len(each) != len(names):
        raise ValueError(
            f"rates must hold one number for each of {len(names)} layers, "
            f"got {check.shown(rates)}"
        )
    return w, [check.real("rates", rate, above=0.0) for rate in each]
