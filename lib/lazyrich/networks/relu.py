r"""Fully connected ReLU networks as the deep-kernel literature writes them.

    a_1 = W_1 x / sqrt(n_0) + bias b_1
    a_{l+1} = W_{l+1} relu(a_l) / sqrt(n_l) + bias b_{l+1},     f = a_L

with standard normal weights *and* biases, and a ReLU without a factor sqrt(2), so that
variances halve from layer to layer without bias. ``kernels.relu_ntk`` is the tangent
kernel of these networks at infinite width. ``FullyConnected`` with activation "relu" is
the same network up to a factor 2^((L-1)/2) of f, and starts from zero biases.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.networks.network import (
    Network,
    TangentFactor,
    chain_shapes,
    check_points,
)


@dataclass(frozen=True)
class ReluNetwork(Network):
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
        if self.c != 1:
            raise ValueError(f"c must be 1: there is one output, got {self.c!r}")

    @property
    def depth(self) -> int:
        """Number of weight layers, one more than hidden layers."""
        return len(self.widths) + 1

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter of one member."""
        return chain_shapes((self.d, *self.widths, 1), bias=self.bias > 0)

    @property
    def scales(self) -> dict[str, float]:
        """Weights and biases start from N(0, 1)."""
        return dict.fromkeys(self.shapes, 1.0)

    def preactivations(self, w: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
        """a_1, ..., a_L, each (..., n, width); the last is the output, width 1.

        Raises:
            TypeError, ValueError: parameters or inputs of the wrong form.
        """
        self.check_params(w)
        check_points(x, self.d, w["W0"])
        found, h = [], x
        for layer in range(self.depth):
            a = torch.matmul(h, w[f"W{layer}"].mT) / math.sqrt(h.shape[-1])
            if self.bias > 0:
                a = a + self.bias * w[f"B{layer}"].unsqueeze(-2)
            found.append(a)
            h = a.relu()
        return found

    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """f(w, x), shape (n,), behind the member axis if there is one."""
        return self.preactivations(w, x)[-1].squeeze(-1)

    def tangent_factors(
        self, w: Mapping[str, Tensor], x: Tensor
    ) -> list[TangentFactor]:
        """Inputs of every layer and back-propagated derivatives, for ``kernels.ntk``:

        Theta(x, x') = sum_l (h_l . h'_l / n_l + bias^2) (D_l . D'_l),  D_l = df/da_{l+1}.
        """
        pre = self.preactivations(w, x)
        inputs = [x, *(a.relu() for a in pre[:-1])]
        square = self.bias**2
        factors = [TangentFactor(inputs[-1], 1 / inputs[-1].shape[-1], square, None)]
        delta = torch.ones_like(pre[-1])
        for layer in range(self.depth - 1, 0, -1):
            z, below = inputs[layer], inputs[layer - 1]
            gate = (pre[layer - 1] > 0).to(x.dtype)
            delta = torch.matmul(delta, w[f"W{layer}"]) * gate / math.sqrt(z.shape[-1])
            factors.append(TangentFactor(below, 1 / below.shape[-1], square, delta))
        return factors[::-1]
