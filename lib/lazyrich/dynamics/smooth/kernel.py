r"""The flow of a function under a given history of its tangent kernel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.runge_kutta import increasing_times, integrate
from lazyrich.dynamics.smooth.gradient import Reduction, scale_of


@dataclass(frozen=True)
class KernelFlow:
    """A trajectory in function space.

    Attributes:
        t: (m,) times.
        f: (m, p) values at all points, training points first.
        error: (m, n) y - f on the training points.
        settings: what the flow was asked to do: loss, reduction and rate.
    """

    t: Tensor
    f: Tensor
    error: Tensor
    settings: dict[str, Any] = field(default_factory=dict)


def kernel_flow(
    kernel: Callable[[float], Tensor] | Tensor,
    y: Tensor,
    t: Sequence[float] | np.ndarray | Tensor,
    *,
    start: Tensor | None = None,
    rate: float = 1.0,
    reduction: Reduction = "sum",
    rtol: float = 1e-10,
) -> KernelFlow:
    r"""Integrate df(x)/dt = rate sum_mu K_t(x, x_mu) (y_mu - f(x_mu)) (Eq. 1).

    atanasov2022, for the square loss, *summed* over examples unless ``reduction`` is
    ``"mean"``.

    Args:
        kernel: t -> K_t (p, p) over all points, or one kernel that stands still. The
            first n points are the training points.
        y: targets (n,), n <= p.
        t: times, increasing, the first >= 0; the flow starts at time 0.
        start: f at time 0 (p,); zero by default.
        rate: learning rate.
        reduction: ``"sum"`` or ``"mean"`` of the loss over examples.
        rtol: relative accuracy of a step.

    Raises:
        TypeError, ValueError: shapes that do not fit, times that do not increase.
        RuntimeError: the integrator gave up.

    >>> from lazyrich.dynamics import kernel_flow
    >>> kernel, y = torch.eye(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    >>> flow = kernel_flow(kernel, y, [0.0, 1.0], reduction="mean")
    >>> bool((flow.error[1] - torch.exp(torch.tensor(-0.5))).abs().max() < 1e-7)
    True
    """
    check.tensor("y", y, ndim=1)
    check.real("rate", rate, above=0.0)
    history = (lambda _time: kernel) if isinstance(kernel, Tensor) else kernel
    n, points = len(y), len(history(0.0))
    scale = rate * scale_of(reduction, n)
    check.tensor("kernel", history(0.0), shape=(points, points), like=y)
    if n > points:
        raise ValueError(f"y must have at most {points} values, got {n}")
    begin = y.new_zeros(points) if start is None else start
    check.tensor("start", begin, shape=(points,), like=y)
    times = increasing_times(t)
    targets = y.numpy()

    def velocity(time: float, f: np.ndarray) -> np.ndarray:
        return scale * (history(time)[:, :n].numpy() @ (targets - f[:n]))

    path, _ = integrate(velocity, begin.numpy(), times, rtol, float(y.abs().max()))
    f = torch.from_numpy(path)
    asked = {"loss": "square", "reduction": reduction, "rate": rate}
    return KernelFlow(torch.from_numpy(times), f, y - f[:, :n], asked)
