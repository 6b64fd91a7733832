"""What the networks share: parameters that are counted, drawn and checked.

A network is a frozen description without state. Its own file says what sets it apart: the
``shapes`` of its parameters, the ``scales`` of their first values, f(w, x) and, where
they are written out, its derivatives. Parameters are a ``dict`` of tensors, all of which
may carry one leading axis of **members**, an ensemble that is evaluated in one go.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.pullback import Params, by_vjp
from lazyrich.networks.initial import normal_weights


class TangentFactor(NamedTuple):
    """One layer's share of the tangent kernel (see ``Chain.tangent_factors``).

    Attributes:
        z: inputs of the layer, shape (..., n, fan_in).
        scale: of products of inputs, 1 / fan_in in the NTK scaling.
        bias: the square of the bias's factor, 0.0 without one.
        d: d f / d (output of the layer): (..., n, fan_out), or (..., n, c, fan_out) for
            several outputs; ``None`` for the read-out, where it is the identity.
    """

    z: Tensor
    scale: float
    bias: float
    d: Tensor | None


class Network(ABC):
    """A function f(w, x) of parameters ``w`` and inputs ``x``."""

    ensembles: ClassVar[bool] = True
    """Whether parameters may carry a leading axis of members."""

    @property
    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter of one member, from the input up."""

    @property
    @abstractmethod
    def scales(self) -> dict[str, float]:
        """Standard deviation of every parameter at the start; 0 starts from zeros."""

    @abstractmethod
    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """f(w, x)."""

    def pullback(
        self, w: Mapping[str, Tensor], x: Tensor, work: Params | None = None
    ) -> tuple[Tensor, Callable[..., Params]]:
        """f(w, x) and ``pull(g, out=None)``, the gradient of ``sum(g * f)`` over ``w``.

        By ``torch.func.vjp``; a network that writes its backward pass out overrides it and
        may keep intermediate tensors in ``work``, a dict, from call to call.
        """
        return by_vjp(self, w, x)

    def pushforward(
        self, w: Mapping[str, Tensor], x: Tensor, dw: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """f(w, x) and its change J dw for changes ``dw`` of the parameters.

        By ``torch.func.jvp``; a network that knows a cheaper way overrides it.

        Raises:
            TypeError, ValueError: parameters, changes or inputs of the wrong form.
        """
        self._leading_axes(dw, "dw")
        f, df, *_ = torch.func.jvp(lambda p: self(p, x), (dict(w),), (dict(dw),))
        return f, df

    @property
    def n_params(self) -> int:
        """Number of parameters N of one member."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def init(
        self,
        seed: int | Sequence[int] = 0,
        members: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> Params:
        """Draw parameters: centred Gaussians with the standard deviations ``scales``.

        The member of seed ``s`` is the same whatever the batch it is drawn in: draws are
        made on the CPU from generators named by parameter and seed. Networks that differ
        in their scales alone get proportional weights from equal seeds.

        Args:
            seed: one seed, or a sequence of seeds, which gives a member axis.
            members: with one seed, the number of members ``seed, seed + 1, ...``;
                ``None`` leaves the member axis out.
            dtype, device: of the result.

        Raises:
            TypeError, ValueError: seeds that are not integers >= 0, an empty sequence,
                ``members`` beside a sequence of seeds, a dtype that is not floating, or
                an ensemble of a network that has no member axis.
        """
        if not self.ensembles and (members is not None or isinstance(seed, Sequence)):
            raise ValueError(
                "seed must be one integer: this network has no member axis"
            )
        return normal_weights(self.shapes, self.scales, seed, members, dtype, device)

    def check_params(self, w: Mapping[str, Tensor], name: str = "w") -> int | None:
        """The number of members of ``w``, ``None`` without a member axis.

        Raises:
            TypeError, ValueError: missing, unknown or misshapen parameters.
        """
        axes = self._leading_axes(w, name)
        if len(axes) > self.ensembles:
            most = "at most one leading axis" if self.ensembles else "no leading axis"
            raise ValueError(f"{name} must have {most}, of members, got axes {axes}")
        return axes[0] if axes else None

    def _leading_axes(
        self, w: Mapping[str, Tensor], name: str = "w"
    ) -> tuple[int, ...]:
        """The axes that the first parameter has before its shape, and all must have."""
        if not isinstance(w, Mapping):
            raise TypeError(f"{name} must be a dict of tensors, got {type(w).__name__}")
        shapes = self.shapes
        if w.keys() != shapes.keys():
            missing = [key for key in shapes if key not in w]
            unknown = [key for key in w if key not in shapes]
            raise ValueError(
                f"{name} must hold the parameters of {self}: missing {missing}, "
                f"unknown {unknown}"
            )
        first, shape = next(iter(shapes.items()))
        for key in shapes:
            check.tensor(f"{name}[{key!r}]", w[key], finite=False)
        axes = tuple(w[first].shape[: -len(shape)])
        for key, shape in shapes.items():
            if w[key].shape != axes + shape:
                behind = f" behind the leading axes {axes} of {first}" if axes else ""
                raise ValueError(
                    f"{name} must have shape {shape} at {key}{behind}, "
                    f"got {tuple(w[key].shape)}"
                )
        return axes


def check_points(
    x: Tensor, d: int, weight: Tensor, ndim: int | Sequence[int] = (2, 3)
) -> None:
    """Refuse inputs other than (n, d), or (members, n, d), of the kind of ``weight``.

    Args:
        x: inputs.
        d: numbers an input.
        weight: of the first layer, (fan_out, d) behind an axis of members if any.
        ndim: allowed number(s) of axes.

    Raises:
        TypeError, ValueError: another dtype, device or shape, or another number of
            members than ``weight`` has.
    """
    check.tensor("x", x, ndim=ndim, like=weight, finite=False)
    if x.shape[-1] != d:
        raise ValueError(
            f"x must have {d} components on its last axis, got shape {tuple(x.shape)}"
        )
    if x.ndim == 3 and weight.shape[:-2] != x.shape[:1]:
        raise ValueError(
            "x with a member axis must have the leading axes of w, "
            f"{tuple(weight.shape[:-2])}, got shape {tuple(x.shape)}"
        )


def check_images(x: Tensor, channels: int, weight: Tensor, least: int = 1) -> None:
    """Refuse inputs other than (n, channels, height, width) of the kind of ``weight``,
    or with sides below ``least``.

    Raises:
        TypeError, ValueError: another dtype, device or shape.
    """
    check.tensor("x", x, ndim=4, like=weight, finite=False)
    if x.shape[1] != channels or min(x.shape[2:]) < least:
        sides = f" with sides of at least {least}" if least > 1 else ""
        raise ValueError(
            f"x must be images (n, {channels}, height, width){sides}, "
            f"got shape {tuple(x.shape)}"
        )
