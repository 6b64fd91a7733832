r"""The flow of a function under a given history of its tangent kernel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.runge_kutta import increasing_times, integrate
from lazyrich.core.spectrum import modes
from lazyrich.dynamics.smooth.gradient import Reduction, scale_of

_MOST = 300_000
"""Evaluations after which a flow is given up: one product of a kernel each."""


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
        kernel: t -> K_t (p, p) over all points, or one kernel that stands still;
            symmetric and positive semi-definite. The first n points are the training
            points.
        y: targets (n,), n <= p.
        t: times, increasing, the first >= 0; the flow starts at time 0.
        start: f at time 0 (p,); zero by default.
        rate: learning rate.
        reduction: ``"sum"`` or ``"mean"`` of the loss over examples.
        rtol: relative accuracy of a step.

    Raises:
        TypeError, ValueError: shapes that do not fit, a kernel that is not symmetric or
            clearly indefinite, times that do not increase.
        RuntimeError: the integrator gave up on the times ``t``.

    >>> from lazyrich.dynamics import kernel_flow
    >>> kernel, y = torch.eye(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    >>> flow = kernel_flow(kernel, y, [0.0, 1.0], reduction="mean")
    >>> bool((flow.error[1] - torch.exp(torch.tensor(-0.5))).abs().max() < 1e-7)
    True
    """
    y = check.constant("y", y, ndim=1)
    if y.device.type != "cpu" or not len(y):
        raise ValueError(
            f"y must hold at least one value on the CPU, got {tuple(y.shape)} on {y.device}"
        )
    rate = check.real("rate", rate, above=0.0)
    given = (lambda _time: kernel) if isinstance(kernel, Tensor) else kernel
    history = check.function("kernel", given)
    first = check.kernel("kernel", history(0.0), like=y)
    check.positive("kernel", modes("kernel", first)[0])
    n, points = len(y), len(first)
    scale = rate * scale_of(reduction, n)
    if n > points:
        raise ValueError(f"y must have at most {points} values, got {n}")
    begin = y.new_zeros(points) if start is None else start
    begin = check.constant("start", begin, shape=(points,), like=y)
    times = increasing_times(t)
    targets = y.numpy()
    still = first.numpy()[:, :n] if isinstance(kernel, Tensor) else None

    def velocity(time: float, f: np.ndarray) -> np.ndarray:
        if still is not None:
            return scale * (still @ (targets - f[:n]))
        now = check.constant("kernel", history(time), shape=(points, points), like=y)
        return scale * (now[:, :n].numpy() @ (targets - f[:n]))

    path, _ = integrate(
        velocity, begin.numpy(), times, rtol, float(y.abs().max()), _MOST
    )
    f = torch.from_numpy(path)
    asked = {"loss": "square", "reduction": reduction, "rate": rate}
    return KernelFlow(torch.from_numpy(times), f, y - f[:, :n], asked)
