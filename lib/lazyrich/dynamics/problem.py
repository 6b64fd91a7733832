"""What a flow of weights solves: a net, its data, a loss and the scale of the output."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.module import check_inputs
from lazyrich.core.pullback import has_member_axis
from lazyrich.losses import Loss
from lazyrich.losses import loss as named_loss

_LEAST_ALPHA = 1e-50
"""Smallest scale of outputs, and inverse of the largest: squares stay in range."""

Params = dict[str, Tensor]


class Problem:
    """Minimise L(w) = 1/(alpha^2 n) sum_mu l(F_mu, y_mu) of F = alpha (f(w) - f(w0)).

    Args:
        net: a network of ``lazyrich.networks``, or any callable ``f(w, x)``.
        w: initial weights, with a member axis for an ensemble (networks of ours).
        x, y: training inputs (n, ...) and targets, (n,) or (n, c); +-1 for the hinges.
        alpha: laziness scale, one for all members or one a member. Without a member
            axis in ``w``, several alphas start from the same weights.
        loss: one of ``losses.LOSSES``.

    Attributes:
        first: one of the weights, which all tensors are like in dtype and device.
        ensemble: members of ``w``; ``None`` without a member axis.
        alpha: (members,) float64.
        loss: the loss itself.

    Raises:
        TypeError, ValueError: arguments of the wrong form, naming them.
    """

    def __init__(
        self,
        net: Callable[[Mapping[str, Tensor], Tensor], Tensor],
        w: Mapping[str, Tensor],
        x: Tensor,
        y: Tensor,
        alpha: float | Tensor | Sequence[float],
        loss: str = "hinge",
    ) -> None:
        self.net: Any = check.function("net", net)
        self.w, self.x, self.y = checked_data(net, w, x, y)
        self.first = next(iter(self.w.values()))
        self.loss = checked_loss(loss, self.y)
        self.ensemble: int | None = None
        if hasattr(net, "check_params"):
            self.ensemble = self.net.check_params(self.w)
        self.alpha = _check_alpha(alpha, self.ensemble)

    @property
    def batched(self) -> bool:
        """Whether the net evaluates many members in one go."""
        return has_member_axis(self.net)

    def need_one_output(self) -> None:
        """Refuse what flows from kink to kink cannot take.

        Raises:
            ValueError: weights that are not float64, or targets of several outputs.
        """
        if self.first.dtype != torch.float64:
            raise ValueError(f"w must be float64, got {self.first.dtype}")
        check.tensor("y", self.y, ndim=1)


def checked_loss(name: str, y: Tensor) -> Loss:
    """The loss of that name, after a look at the targets.

    Raises:
        ValueError: unknown name, or targets other than +-1 for a hinge.
    """
    found = named_loss(name)
    if found.margin and not bool((y.abs() == 1).all()):
        raise ValueError(f"y must be +1 or -1 for the loss {name!r}")
    return found


def checked_data(
    net: Any, w: Mapping[str, Tensor], x: Tensor, y: Tensor
) -> tuple[Params, Tensor, Tensor]:
    """Weights, inputs (n, ...) and targets (n,) or (n, c), without their gradients.

    Raises:
        TypeError, ValueError: no dict of tensors, tensors that are not alike in dtype and
            device, or numbers of examples that differ.
    """
    if not isinstance(w, Mapping) or not w:
        raise TypeError(f"w must be a non-empty dict of tensors, got {check.shown(w)}")
    weights: Params = {}
    first: Tensor | None = None
    for name, value in w.items():
        weights[name] = check.constant(
            f"w[{name!r}]", value, like=first, dtypes=check.SOLVED
        )
        first = weights[name] if first is None else first
    assert first is not None
    x = check_inputs("x", x, net, first).detach()
    y = check.constant("y", y, ndim=(1, 2), like=first)
    if x.ndim == 0 or len(x) == 0 or len(x) != len(y):
        raise ValueError(
            "y and x must hold the same number n >= 1 of examples, got shapes "
            f"{tuple(y.shape)} and {tuple(x.shape)}"
        )
    return weights, x, y


def _numbers(alpha: Any) -> Tensor:
    if isinstance(alpha, Tensor):
        return check.constant("alpha", alpha).to(torch.float64).cpu()
    if isinstance(alpha, Sequence) and not isinstance(alpha, str):
        each = [check.real("alpha", value) for value in alpha]
        return torch.tensor(each, dtype=torch.float64, device="cpu")
    return torch.tensor(check.real("alpha", alpha), dtype=torch.float64, device="cpu")


def _check_alpha(alpha: Any, members: int | None) -> Tensor:
    scales = _numbers(alpha)
    if scales.ndim > 1 or scales.numel() == 0:
        raise ValueError(
            f"alpha must be a number or a sequence of them, got shape "
            f"{tuple(scales.shape)}"
        )
    if not bool(((scales >= _LEAST_ALPHA) & (scales <= 1 / _LEAST_ALPHA)).all()):
        raise ValueError(
            f"alpha must be positive and finite, between {_LEAST_ALPHA:g} and "
            f"{1 / _LEAST_ALPHA:g}, got {scales.tolist()}"
        )
    if members is None:
        return scales.reshape(-1)
    if scales.ndim == 0:
        return scales.expand(members)
    if len(scales) != members:
        raise ValueError(
            f"alpha must have one value for each of the {members} members of w, "
            f"got {len(scales)}"
        )
    return scales
