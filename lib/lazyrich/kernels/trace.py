r"""The tangent kernel of a classifier, summed over its outputs, for PyTorch modules.

For outputs f_c the tangent kernel is a block of c x c numbers a pair of inputs. Its trace

    Theta(x, x') = sum_c grad f_c(x) . grad f_c(x')

is the kernel that a classifier uses when all outputs are to be learned alike. A linear
layer with input z and gradient g_c = d f_c / d(output) adds (z . z' + 1) sum_c g_c . g_c'
to it, so that no Jacobian is needed: at a width of 8192 that Jacobian would have 1.4e9
entries for one image. A convolution adds the products of its gradients, which are small.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lazyrich.core import check

_BLOCKS = {"linear": 512, "images": 16}
"""Examples a block: many for the products of large matrices, few for convolutions, whose
activations are to stay in a core's cache."""


def trace_ntk(
    module: torch.nn.Module,
    x: Tensor,
    x2: Tensor | None = None,
    *,
    outputs: Sequence[int] | None = None,
) -> Tensor:
    """sum_c Theta_cc(x, x2) of a net made of linear layers and convolutions.

    Args:
        module: maps (n, ...) to (n, c), example by example. Every parameter belongs to a
            ``Linear`` or ``Conv2d`` layer that is used once; layers between them without
            parameters, such as ReLUs and poolings, are free.
        x: inputs, first axis n.
        x2: second set, first axis m; ``None`` means ``x``.
        outputs: which outputs c to sum over; all by default, one for the kernel of a
            single logit.

    Returns:
        (n, m), symmetric and positive semi-definite for ``x2 = None``.

    Raises:
        TypeError: not a module, or inputs that are not floating-point tensors.
        ValueError: parameters in other layers, a layer used more than once, a linear
            layer with more than one position, or outputs that are not there.

    >>> module = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Linear(8, 2))
    >>> kernels.trace_ntk(module, torch.ones(4, 3)).shape
    torch.Size([4, 4])
    """
    layers = _layers(module)
    first = next(module.parameters())
    check.tensor("x", x, like=first)
    shape = (None, *x.shape[1:])
    points = x if x2 is None else check.tensor("x2", x2, shape=shape, like=first)
    flat = all(isinstance(layer, torch.nn.Linear) for layer in layers)
    size = _BLOCKS["linear" if flat else "images"]
    columns = [
        _Factors.of(module, layers, part, outputs) for part in points.split(size)
    ]
    held = [_Factors.joined(parts) for parts in zip(*columns, strict=True)]
    theta = x.new_zeros(len(x), len(points))
    with torch.no_grad():
        for k, part in enumerate(x.split(size)):
            rows = (
                _Factors.of(module, layers, part, outputs)
                if x2 is not None
                else columns[k]
            )
            block = theta[k * size : k * size + len(part)]
            for row, column in zip(rows, held, strict=True):
                row.add_products(column, block)
    return theta


Layer = torch.nn.Linear | torch.nn.Conv2d


def _layers(module: torch.nn.Module) -> list[Layer]:
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"module must be a torch.nn.Module, got {type(module).__name__}"
        )
    found: list[Layer] = []
    owned = 0
    for part in module.modules():
        if isinstance(part, torch.nn.Linear | torch.nn.Conv2d):
            found.append(part)
            owned += sum(p.numel() for p in part.parameters(recurse=False))
    total = sum(p.numel() for p in module.parameters())
    if owned != total or not found:
        raise ValueError(
            "module must have its parameters in Linear and Conv2d layers alone, got "
            f"{total - owned} of {total} elsewhere"
        )
    for layer in found:
        if isinstance(layer, torch.nn.Conv2d) and (
            layer.groups != 1
            or layer.padding_mode != "zeros"
            or isinstance(layer.padding, str)
        ):
            raise ValueError(f"module must have plain convolutions, got {layer}")
    return found


@dataclass(frozen=True)
class _Factors:
    """What one layer needs of some examples: ``g`` (n, k) and, for a linear layer, ``z``
    (n, in): gradients at its outputs and its inputs. For a convolution ``g`` are the
    gradients of filters and biases, ``z`` is ``None``; k runs over outputs c as well."""

    g: Tensor
    z: Tensor | None = None
    bias: float = 0.0

    @staticmethod
    def of(
        module: torch.nn.Module,
        layers: list[Layer],
        x: Tensor,
        outputs: Sequence[int] | None,
    ) -> list["_Factors"]:
        """The factors of every layer at a block of inputs."""
        inputs, gradients = _backward(module, layers, x, outputs)
        with torch.no_grad():
            found = []
            for layer, z, g in zip(layers, inputs, gradients, strict=True):
                if isinstance(layer, torch.nn.Linear):
                    bias = float(layer.bias is not None)
                    found.append(_Factors(g.flatten(1), z, bias))
                else:
                    found.append(_Factors(_filter_gradients(layer, z, g)))
            return found

    @staticmethod
    def joined(parts: Sequence["_Factors"]) -> "_Factors":
        """The factors of one layer for all blocks."""
        z = (
            None
            if parts[0].z is None
            else torch.cat([p.z for p in parts if p.z is not None])
        )
        return _Factors(torch.cat([p.g for p in parts]), z, parts[0].bias)

    def add_products(self, other: "_Factors", theta: Tensor) -> None:
        """Add this layer's part of the kernel between two sets of examples."""
        if self.z is None or other.z is None:
            theta.addmm_(self.g, other.g.mT)
        else:
            theta.addcmul_(self.z @ other.z.mT + self.bias, self.g @ other.g.mT)


def _backward(
    module: torch.nn.Module,
    layers: list[Layer],
    x: Tensor,
    outputs: Sequence[int] | None,
) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs of all layers, and gradients of the outputs there: (n, outputs, ...)."""
    seen: dict[torch.nn.Module, tuple[Tensor, Tensor]] = {}

    def keep(layer: torch.nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        if layer in seen:
            raise ValueError(f"module must use every layer once, got twice: {layer}")
        if isinstance(layer, torch.nn.Linear) and out.ndim != 2:
            raise ValueError(
                f"module must have one position a linear layer, got {tuple(out.shape)}"
            )
        seen[layer] = (given[0].detach(), out)

    handles = [layer.register_forward_hook(keep) for layer in layers]
    try:
        with torch.enable_grad():
            # Through the inputs, so that frozen layers have gradients too.
            f = module(x.detach().requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    if f.ndim != 2 or len(f) != len(x):
        raise ValueError(f"module must give outputs (n, c), got shape {tuple(f.shape)}")
    chosen = range(f.shape[1]) if outputs is None else list(outputs)
    if not chosen or not all(0 <= c < f.shape[1] for c in chosen):
        raise ValueError(f"outputs must be from 0 to {f.shape[1] - 1}, got {outputs!r}")
    if missing := [layer for layer in layers if layer not in seen]:
        raise ValueError(f"module must use every layer once, got never: {missing[0]}")
    outs = [seen[layer][1] for layer in layers]
    with torch.enable_grad():
        found = [
            torch.autograd.grad(f[:, c].sum(), outs, retain_graph=c != chosen[-1])
            for c in chosen
        ]
    stacked = [torch.stack(g, 1).detach() for g in zip(*found, strict=True)]
    return [seen[layer][0] for layer in layers], stacked


def _filter_gradients(layer: torch.nn.Conv2d, z: Tensor, g: Tensor) -> Tensor:
    """Gradients of filters and biases, (n, outputs * parameters)."""
    assert not isinstance(layer.padding, str)  # refused by _layers
    patches = functional.unfold(
        z, layer.kernel_size, layer.dilation, layer.padding, layer.stride
    )  # (n, fan_in, positions)
    delta = g.flatten(3)  # (n, outputs, channels, positions)
    parts = [(delta.flatten(1, 2) @ patches.mT).flatten(1)]
    if layer.bias is not None:
        parts.append(delta.sum(3).flatten(1))
    return torch.cat(parts, 1)
