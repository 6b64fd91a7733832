r"""Plain gradient flow of any differentiable model, integrated to high order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.runge_kutta import accuracy, increasing_times, integrate
from lazyrich.dynamics.problem import checked_data, checked_loss

_MOST = 20_000
"""Gradients after which a flow is given up, such as one that chatters at the hinge."""

Reduction = Literal["sum", "mean"]
"""Of the loss over examples."""


def scale_of(reduction: str, n: int) -> float:
    """By what the sum over n examples is multiplied.

    Raises:
        ValueError: neither ``"sum"`` nor ``"mean"``.
    """
    return (
        1.0 / n if check.one_of("reduction", reduction, _REDUCTIONS) == "mean" else 1.0
    )


_REDUCTIONS = ("sum", "mean")


@dataclass(frozen=True)
class WeightFlow:
    """A trajectory in weight space.

    Attributes:
        t: (m,) times.
        w: the weights along the way, each with a leading axis of m times.
        f: (m, n) outputs on the training points.
        settings: what the flow was asked to do: loss, reduction and rate.
    """

    t: Tensor
    w: dict[str, Tensor]
    f: Tensor
    settings: dict[str, Any] = field(default_factory=dict)

    def at(self, index: int) -> dict[str, Tensor]:
        """The weights at one time."""
        return {name: value[index] for name, value in self.w.items()}


def gradient_flow(
    f: Callable[[Mapping[str, Tensor], Tensor], Tensor],
    w: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    t: Sequence[float] | np.ndarray | Tensor,
    *,
    loss: str = "square",
    rate: float = 1.0,
    reduction: Reduction = "sum",
    rtol: float = 1e-9,
) -> WeightFlow:
    r"""Integrate dw/dt = -rate grad_w sum_mu l(f(w, x_mu), y_mu).

    The loss is *summed* over examples unless ``reduction`` is ``"mean"``.

    For small smooth models, where a trajectory accurate to many digits is worth one
    gradient an evaluation; ``momentum_flow`` trains larger ones, ``linear_flow`` linear
    ones.

    Args:
        f: (w, x) -> (n,), one output.
        w: initial weights, float64, no member axis.
        x, y: training points (n, ...) and targets (n,).
        t: times, increasing, the first >= 0; the flow starts at time 0.
        loss: one of ``losses.LOSSES``.
        rate: learning rate.
        reduction: ``"sum"`` or ``"mean"`` of the loss over examples.
        rtol: relative accuracy of a step.

    Raises:
        TypeError, ValueError: arguments of the wrong form, naming them; targets that are
            not like the outputs, or not +-1 for a hinge.
        RuntimeError: the integrator gave up on the times ``t``.

    >>> from lazyrich.dynamics import gradient_flow
    >>> w = {"w": torch.zeros(1, dtype=torch.float64)}
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> flow = gradient_flow(lambda w, x: w["w"] * x, w, one, one, [0.0, 1.0])
    >>> bool((flow.f[:, 0] - (1 - torch.exp(-flow.t))).abs().max() < 1e-8)
    True
    """
    check.function("f", f)
    w, x, y = checked_data(f, w, x, y)
    first = next(iter(w.values()))
    if first.dtype != torch.float64 or first.device.type != "cpu":
        raise ValueError(
            f"w must be float64 on the CPU, got {first.dtype} on {first.device}; a "
            "module gets there by .double()"
        )
    check.tensor("y", y, ndim=1)
    slope = checked_loss(loss, y).slope
    rate = check.real("rate", rate, above=0.0)
    scale = rate * scale_of(reduction, len(y))
    times = increasing_times(t)
    accuracy("rtol", rtol)
    if tuple(f(w, x).shape) != tuple(y.shape):
        raise ValueError(
            f"y must have the shape of f(w, x), {tuple(f(w, x).shape)}; "
            f"got {tuple(y.shape)}"
        )
    shapes = {name: value.shape for name, value in w.items()}
    sizes = [value.numel() for value in w.values()]

    def unpack(flat: Tensor) -> dict[str, Tensor]:
        parts = flat.split(sizes, dim=-1)
        axes = flat.shape[:-1]
        return {
            name: part.reshape(*axes, *shape)
            for part, (name, shape) in zip(parts, shapes.items(), strict=True)
        }

    def velocity(_time: float, state: np.ndarray) -> np.ndarray:
        flat = torch.from_numpy(state).requires_grad_()
        out = f(unpack(flat), x)
        (gradient,) = torch.autograd.grad(out, flat, slope(out.detach(), y))
        return -scale * gradient.numpy()

    begin = torch.cat([value.reshape(-1) for value in w.values()]).numpy()
    size = float(np.sqrt(np.mean(begin**2)))
    states, _ = integrate(velocity, begin, times, rtol, size, _MOST)
    path = unpack(torch.from_numpy(states))
    with torch.no_grad():
        outputs = torch.stack(
            [f({k: v[m] for k, v in path.items()}, x) for m in range(len(times))]
        )
    asked = {"loss": loss, "reduction": reduction, "rate": rate}
    return WeightFlow(torch.from_numpy(times), path, outputs, asked)
