"""Any ``torch.nn.Module`` as a pure function f(w, x) of its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import functional_call


@dataclass(frozen=True)
class ModuleNet:
    """A module seen as f(w, x); see ``from_module``."""

    module: torch.nn.Module
    buffers: dict[str, Tensor] = field(repr=False)

    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """f(w, x), (n,) if the module has one output, else (n, c)."""
        f = functional_call(self.module, {**w, **self.buffers}, (x,))
        return f.squeeze(-1) if f.ndim == 2 and f.shape[-1] == 1 else f


def from_module(module: torch.nn.Module) -> tuple[ModuleNet, dict[str, Tensor]]:
    """``(net, w)`` of a module, ready for ``kernels`` and ``dynamics``.

    The parameters are copied: nothing done to ``w`` reaches the module. Buffers are
    constants; put the module in ``eval()`` mode first, because a layer that couples the
    examples of a batch (batch normalisation in training) has no per-example gradient.

    Raises:
        TypeError: not a ``torch.nn.Module``.
        ValueError: a module in training mode that has layers which behave otherwise in
            evaluation mode, or one without trainable parameters.

    >>> net, w = networks.from_module(torch.nn.Linear(3, 1))
    >>> {name: tuple(value.shape) for name, value in w.items()}
    {'weight': (1, 3), 'bias': (1,)}
    >>> net(w, torch.ones(5, 3)).shape
    torch.Size([5])
    """
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"module must be a torch.nn.Module, got {type(module).__name__}"
        )
    unstable = (
        torch.nn.modules.batchnorm._BatchNorm,
        torch.nn.modules.dropout._DropoutNd,
    )
    if module.training and any(isinstance(m, unstable) for m in module.modules()):
        raise ValueError(
            "module must be in evaluation mode (module.eval()): batch normalisation and "
            "dropout have no per-example gradient while training"
        )
    w = {
        name: value.detach().clone()
        for name, value in module.named_parameters()
        if value.requires_grad
    }
    if not w:
        raise ValueError("module must have at least one trainable parameter, got none")
    frozen = {
        name: value.detach().clone()
        for name, value in module.named_parameters()
        if not value.requires_grad
    }
    buffers = {name: value.detach().clone() for name, value in module.named_buffers()}
    return ModuleNet(module, {**frozen, **buffers}), w
