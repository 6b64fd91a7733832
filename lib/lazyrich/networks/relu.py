r"""Fully connected ReLU networks as the deep-kernel literature writes them.

    a_1 = W_1 x / sqrt(n_0) + bias b_1
    a_{l+1} = W_{l+1} relu(a_l) / sqrt(n_l) + bias b_{l+1},     f = a_L

with standard normal weights *and* biases, and a ReLU without a factor sqrt(2), so that
variances halve from layer to layer without bias. ``kernels.relu_ntk`` is the tangent
kernel of these networks at infinite width. ``FullyConnected`` with activation "relu" is
the same network up to a factor 2^((L-1)/2) of f, and starts from zero biases.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lazyrich.core import check, rng
from lazyrich.networks.fully_connected import Params, TangentFactor


@dataclass(frozen=True)
class ReluNetwork:
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
        sizes = (self.d, *self.widths, 1)
        found: dict[str, tuple[int, ...]] = {}
        for layer in range(self.depth):
            found[f"W{layer}"] = (sizes[layer + 1], sizes[layer])
            if self.bias > 0:
                found[f"B{layer}"] = (sizes[layer + 1],)
        return found

    def init(
        self,
        seed: int | Sequence[int] = 0,
        members: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> Params:
        """Draw weights and biases from N(0, 1); arguments as ``FullyConnected.init``.

        Raises:
            TypeError, ValueError: seeds that are not integers >= 0, an empty sequence,
                or ``members`` beside a sequence of seeds.
        """
        place = check.device("device", device)
        batched = isinstance(seed, Sequence) or members is not None
        if isinstance(seed, Sequence):
            if members is not None or not seed:
                raise ValueError(
                    "seed must be one integer with members, or a non-empty sequence, "
                    f"got {seed!r} and members {members!r}"
                )
            seeds = list(seed)
        else:
            first = check.positive_int("seed", seed, least=0)
            count = 1 if members is None else check.positive_int("members", members)
            seeds = [first + k for k in range(count)]
        w: Params = {}
        for name, shape in self.shapes.items():
            draws = [
                torch.randn(
                    shape, generator=rng.generator(f"init/{name}", s), dtype=dtype
                )
                for s in seeds
            ]
            value = torch.stack(draws) if batched else draws[0]
            w[name] = value.to(place)
        return w

    def check_params(self, w: Mapping[str, Tensor], name: str = "w") -> int | None:
        """The number of members of ``w``, ``None`` without a member axis.

        Raises:
            ValueError: missing, unknown or misshapen parameters.
        """
        if w.keys() != self.shapes.keys():
            raise ValueError(
                f"{name} must hold {sorted(self.shapes)}, got {sorted(map(str, w))}"
            )
        axes = tuple(w["W0"].shape[:-2])
        fits = all(tuple(w[k].shape) == axes + s for k, s in self.shapes.items())
        if not fits or len(axes) > 1:
            shapes = {k: tuple(v.shape) for k, v in w.items()}
            raise ValueError(
                f"{name} must have shapes {self.shapes}, with or without one leading "
                f"member axis; got {shapes}"
            )
        return axes[0] if axes else None

    def preactivations(self, w: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
        """a_1, ..., a_L, each (..., n, width); the last is the output, width 1.

        Raises:
            TypeError, ValueError: parameters or inputs of the wrong form.
        """
        self.check_params(w)
        check.tensor("x", x, ndim=(2, 3), like=w["W0"], finite=False)
        if x.shape[-1] != self.d:
            raise ValueError(
                f"x must have {self.d} components on its last axis, "
                f"got shape {tuple(x.shape)}"
            )
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
