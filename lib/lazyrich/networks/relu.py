r"""Fully connected ReLU networks as the deep-kernel literature writes them.

    a_1 = W_1 x / sqrt(n_0) + bias b_1
    a_{l+1} = W_{l+1} relu(a_l) / sqrt(n_l) + bias b_{l+1},     f = a_L

with standard normal weights *and* biases, and a ReLU without a factor sqrt(2), so that
variances halve from layer to layer without bias. ``kernels.relu_ntk`` is the tangent
kernel of these networks at infinite width. ``FullyConnected`` with activation "relu" is
the same network up to a factor 2^((L-1)/2) of f, and starts from zero biases.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.networks.activations import activation
from lazyrich.networks.chain import Chain, Dense, Layer, dense_layers


class _Divided(Dense):
    """y = z W^T / sqrt(n) + bias B: a quotient rounds once, a product with the rounded
    1 / sqrt(n) twice."""

    def __init__(self, *sizes: Any, **scales: Any) -> None:
        super().__init__(*sizes, **scales)
        self.owed = self.owed_to_factors = 1.0

    def forward(self, w: Mapping[str, Tensor], z: Tensor) -> Tensor:
        a = torch.matmul(z, w[self.weight].mT).div_(self.root)
        return a + self.bias * w[self.offset].unsqueeze(-2) if self.bias else a

    def forward_into(self, w: Mapping[str, Tensor], z: Tensor, y: Tensor) -> Tensor:
        return y.copy_(self.forward(w, z))

    def backward(
        self, w: Mapping[str, Tensor], z: Tensor, y: Tensor, delta: Tensor,
        out: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        return super().backward(w, z, y, delta, out).div_(self.root)

    def from_top(self, w: Mapping[str, Tensor], z: Tensor) -> Tensor:
        return (w[self.weight] / self.root).expand(z.shape)


@dataclass(frozen=True)
class ReluNetwork(Chain):
    """ReLU network with one output and hidden layers of any widths.

    Weights are a ``dict`` with ``W0``, ``W1``, ... of shape (fan_out, fan_in) and, with
    a bias, ``B0``, ``B1``, ...; all may carry one leading member axis.

    Args:
        d: input dimension n_0.
        widths: of the hidden layers, n_1, n_2, ...
        bias: standard deviation of the biases; 0 leaves them out.

    Raises:
        TypeError, ValueError: sizes that are not positive integers, a negative bias.
    """

    d: int
    widths: tuple[int, ...]
    bias: float = 0.0
    # one output, as kernels.ntk wants to know
    c: int = 1

    def __post_init__(self) -> None:
        check.positive_int("d", self.d)
        if not isinstance(self.widths, tuple):
            raise TypeError(f"widths must be a tuple, got {self.widths!r}")
        for width in self.widths:
            check.positive_int("widths", width)
        check.real("bias", self.bias, least=0.0)
        if not isinstance(self.c, int) or self.c != 1:
            raise ValueError(f"c must be 1: there is one output, got {self.c!r}")

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Layers of weights with the ReLU in between, from the input up."""
        return dense_layers(
            (self.d, *self.widths, 1),
            activation("relu"),
            divided=True,
            bias=self.bias,
            kind=_Divided,
        )

    @property
    def scales(self) -> dict[str, float]:
        """Weights and biases start from N(0, 1)."""
        return dict.fromkeys(self.shapes, 1.0)

    def preactivations(self, w: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
        """a_1, ..., a_L, each (..., n, width); the last is the output, width 1.

        Raises:
            TypeError, ValueError: parameters or inputs of the wrong form.
        """
        self._check(w, x)
        return [
            a
            for layer, a in zip(self.layers, self._values(w, x)[1:], strict=True)
            if isinstance(layer, Dense)
        ]
