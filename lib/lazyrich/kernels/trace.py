r"""The tangent kernel of a classifier, summed over its outputs, for PyTorch modules.

For outputs f_c the tangent kernel is a block of c x c numbers a pair of inputs. Its trace

    Theta(x, x') = sum_c grad f_c(x) . grad f_c(x')

is the kernel that a classifier uses when all outputs are to be learned alike. A linear
layer with input z and gradient g_c = d f_c / d(output) adds (z . z' + 1) sum_c g_c . g_c'
to it, so that no Jacobian is needed: at a width of 8192 that Jacobian would have 1.4e9
entries for one image. A convolution adds the products of its gradients, which are small.

That holds where a layer is exactly W z + b. Types, hooks and parameters are looked at, and
the gradient of two examples is taken both ways; a module that is anything else goes by
Jacobians, as in ``ntk``.
"""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lazyrich.core import check
from lazyrich.core.module import ModuleNet, check_inputs, from_module
from lazyrich.kernels.empirical import generic_gram

_BLOCKS = {"linear": 512, "images": 16}
"""Examples a block: many for the products of large matrices, few for convolutions, whose
activations are to stay in a core's cache."""


def trace_ntk(
    module: torch.nn.Module,
    x: Tensor,
    x2: Tensor | None = None,
    *,
    outputs: Sequence[int] | None = None,
    memory: float = 1e9,
) -> Tensor:
    """sum_c Theta_cc(x, x2) of a module, over the parameters that require gradients.

    Without a Jacobian where every such parameter belongs to a plain ``Linear`` or
    ``Conv2d`` layer that is used once; what lies between the layers is free. Any other
    module takes the way of ``ntk``. The module stays as it is. Another number of threads
    moves the kernel by roundings, some 1e-15 of its largest entry in float64.

    Args:
        module: maps (n, ...) to (n, c) or (n,), example by example, as ``from_module``
            wants it.
        x: inputs, first axis n; integers where the module takes them.
        x2: second set, first axis m; ``None`` means ``x``.
        outputs: which outputs c to sum over; all by default, one for the kernel of a
            single logit.
        memory: bytes that Jacobians may take where they are needed.

    Returns:
        (n, m), symmetric and positive semi-definite for ``x2 = None``.

    Raises:
        TypeError: not a module, or inputs that are no tensors of its kind.
        ValueError: a module that is no function of each example by itself, in training
            mode say (see ``from_module``), inputs of other shapes, or outputs that are
            not there.

    >>> module = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Linear(8, 2))
    >>> kernels.trace_ntk(module, torch.ones(4, 3)).shape
    torch.Size([4, 4])
    """
    net, w = from_module(module)
    check.real("memory", memory, above=0.0)
    first = next(iter(w.values()))
    for name, points in (("x", x), ("x2", x2)):
        if points is not None or name == "x":
            points = check_inputs(name, points, net, first)
            if points.ndim == 0 or len(points) == 0:
                shape = tuple(points.shape)
                raise ValueError(f"{name} must hold at least one point, got {shape}")
    if x2 is not None and (x2.shape[1:] != x.shape[1:] or x2.dtype != x.dtype):
        raise ValueError(
            f"x2 must hold points of shape {tuple(x.shape[1:])} and {x.dtype} as x does, "
            f"got shape {tuple(x2.shape)} and {x2.dtype}"
        )
    with torch.no_grad():
        net.verify(w, x)
        chosen = _chosen(net(w, x[:1]).reshape(1, -1).shape[1], outputs)
    layers = _plain_layers(net.module)
    if layers is not None:
        with contextlib.suppress(_NotPlainError), torch.inference_mode(False):
            run = _Layerwise(net.module, layers, chosen)
            run.compare(x)
            return check.result("module and x", run.gram(x, x2))

    def picked(p: Mapping[str, Tensor], z: Tensor) -> Tensor:
        return net(p, z).reshape(len(z), -1)[:, chosen]

    with torch.no_grad():
        theta = generic_gram(_Picked(net, picked), w, x, x2, memory, "nm")
        return check.result("module and x", theta)


def _chosen(c: int, outputs: Sequence[int] | None) -> list[int]:
    """The outputs to sum over, of c."""
    if not (outputs is None or isinstance(outputs, Sequence | range)):
        raise TypeError(f"outputs must be a sequence, got {type(outputs).__name__}")
    chosen = list(range(c)) if outputs is None else list(outputs)
    places = [k for k in chosen if isinstance(k, int) and 0 <= k < c]
    if not chosen or places != chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"outputs must be different integers from 0 to {c - 1}, got {outputs!r}"
        )
    return chosen


@dataclass(frozen=True)
class _Picked:
    """Some outputs of a module; what it promises has been verified."""

    net: ModuleNet
    picked: Any

    def verify(self, w: Mapping[str, Tensor], x: Tensor) -> None:
        self.net.verify(w, x)

    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        return self.picked(w, x)


class _NotPlainError(Exception):
    """A module turns out not to be made of layers W z + b, each used once."""


Layer = torch.nn.Linear | torch.nn.Conv2d


def _plain_layers(module: torch.nn.Module) -> list[Layer] | None:
    """The layers that hold the trained parameters; ``None`` unless all of them are plain
    and share nothing."""
    found: list[Layer] = []
    holders = Counter(
        id(p) for part in module.modules() for p in part._parameters.values()
    )
    for part in module.modules():
        held = [p for p in part._parameters.values() if p is not None]
        if not any(p.requires_grad for p in held):
            continue
        shared = any(holders[id(p)] > 1 or p.is_inference() for p in held)
        if shared or not _is_plain(part):
            return None
        found.append(part)  # type: ignore[arg-type]
    return found


def _is_plain(part: torch.nn.Module) -> bool:
    """Whether a layer computes W z + b with parameters of its own and nothing else.

    Layers derived from ``Linear``, and those with parametrisations, are of other types;
    pruning and older norms of weights come in hooks and buffers.
    """
    hooks = (
        part._forward_hooks, part._forward_pre_hooks, part._backward_hooks,
        part._backward_pre_hooks,
    )  # fmt: skip
    if type(part) not in (torch.nn.Linear, torch.nn.Conv2d) or any(hooks):
        return False
    if "forward" in vars(part) or part._buffers:
        return False
    own = part._parameters
    if set(own) != {"weight", "bias"} or type(own["weight"]) is not torch.nn.Parameter:
        return False
    return not isinstance(part, torch.nn.Conv2d) or (
        part.groups == 1
        and part.padding_mode == "zeros"
        and not isinstance(part.padding, str)
    )


class _Layerwise:
    """The kernel of a module made of plain layers.

    Args:
        module: the module itself, not changed.
        layers: those that hold its trained parameters.
        outputs: which are summed over.
    """

    def __init__(
        self, module: torch.nn.Module, layers: list[Layer], outputs: list[int]
    ) -> None:
        self.module, self.layers, self.outputs = module, layers, outputs
        self.copies = False
        flat = all(isinstance(layer, torch.nn.Linear) for layer in layers)
        self.block = _BLOCKS["linear" if flat else "images"]

    def gram(self, x: Tensor, x2: Tensor | None) -> Tensor:
        """(n, m), block by block."""
        points = x if x2 is None else x2
        columns = [self.factors(part) for part in points.split(self.block)]
        held = [_Factors.joined(parts) for parts in zip(*columns, strict=True)]
        theta = torch.zeros(
            len(x), len(points), dtype=held[0].g.dtype, device=held[0].g.device
        )
        with torch.no_grad():
            for k, part in enumerate(x.split(self.block)):
                rows = columns[k] if x2 is None else self.factors(part)
                block = theta[k * self.block : k * self.block + len(part)]
                for row, column in zip(rows, held, strict=True):
                    row.add_products(column, block)
        return theta

    def compare(self, x: Tensor) -> None:
        """Take the gradient of two examples both ways.

        Raises:
            _NotPlainError: they differ, so some layer is not what it seems.
        """
        few = x.detach()[[0, -1]].clone()
        mix = torch.cos(1.0 + 2.0 * torch.arange(len(self.outputs), device=x.device))
        inputs, deltas = self.backward(few)
        trained = [_trained(layer) for layer in self.layers]
        with torch.enable_grad():
            f = self.module(few.clone()).reshape(len(few), -1)[:, self.outputs]
            mix = mix.to(f.dtype)
            want = torch.autograd.grad(
                (f @ mix).sum(),
                [p for held in trained for p in held.values()],
                allow_unused=True,
                materialize_grads=True,
            )
        with torch.no_grad():
            got = [
                part.reshape(-1)
                for layer, z, g in zip(self.layers, inputs, deltas, strict=True)
                for part in _gradients(layer, z, torch.einsum("nc...,c->n...", g, mix))
            ]
        for mine, theirs in zip(got, want, strict=True):
            size = float(theirs.abs().max())
            error = float((mine - theirs.reshape(-1)).abs().max())
            if not error <= torch.finfo(theirs.dtype).eps ** 0.5 * size:
                raise _NotPlainError

    def factors(self, x: Tensor) -> list["_Factors"]:
        """The factors of every layer at a block of inputs."""
        inputs, gradients = self.backward(x)
        with torch.no_grad():
            found = []
            for layer, z, g in zip(self.layers, inputs, gradients, strict=True):
                trained = _trained(layer)
                if isinstance(layer, torch.nn.Conv2d):
                    found.append(_Factors(_filter_gradients(layer, z, g)))
                    continue
                z = z if "weight" in trained else z[:, :0]  # nothing to multiply
                found.append(_Factors(g.flatten(1), z, float("bias" in trained)))
            return found

    def backward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Inputs of all layers, and gradients of the outputs there: (n, outputs, ...).

        Where something works in place on what a layer takes or gives, it is given copies
        from then on.
        """
        f, seen = self._forward(x)
        if any(t._version != version for pair in seen.values() for t, version in pair):
            self.copies = True
            f, seen = self._forward(x)
        outs = [seen[layer][1][0] for layer in self.layers]
        with torch.enable_grad():
            found = [
                torch.autograd.grad(
                    f[:, c].sum(),
                    outs,
                    retain_graph=c != self.outputs[-1],
                    allow_unused=True,
                    materialize_grads=True,
                )
                for c in self.outputs
            ]
        stacked = [torch.stack(g, 1).detach() for g in zip(*found, strict=True)]
        return [seen[layer][0][0] for layer in self.layers], stacked

    def _forward(
        self, x: Tensor
    ) -> tuple[Tensor, dict[torch.nn.Module, list[tuple[Tensor, int]]]]:
        """Outputs (n, c), and input and output of every layer with their versions.

        Raises:
            _NotPlainError: a layer that is used twice or never, or on more axes than its
                formula has.
        """
        seen: dict[torch.nn.Module, list[tuple[Tensor, int]]] = {}

        def keep(layer: torch.nn.Module, given: tuple, out: Tensor) -> Tensor | None:
            axes = 2 if isinstance(layer, torch.nn.Linear) else 4
            if layer in seen or len(given) != 1 or out.ndim != axes:
                raise _NotPlainError
            z = given[0].detach()
            z = z.clone() if self.copies else z
            seen[layer] = [(z, z._version), (out, out._version)]
            return out.clone() if self.copies else None

        handles = [layer.register_forward_hook(keep) for layer in self.layers]
        try:
            with torch.enable_grad():
                f = self.module(x.detach().clone()).reshape(len(x), -1)
        finally:
            for handle in handles:
                handle.remove()
        if len(seen) < len(self.layers) or not f.requires_grad:
            raise _NotPlainError
        return f, seen


@dataclass(frozen=True)
class _Factors:
    """What one layer needs of some examples: ``g`` (n, k) and, for a linear layer, ``z``
    (n, in): gradients at its outputs and its inputs. For a convolution ``g`` are the
    gradients of filters and biases, ``z`` is ``None``; k runs over outputs c as well."""

    g: Tensor
    z: Tensor | None = None
    bias: float = 0.0

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


def _trained(layer: Layer) -> dict[str, Tensor]:
    """The parameters of a layer that require gradients, weights first."""
    return {
        name: value
        for name, value in layer._parameters.items()
        if value is not None and value.requires_grad
    }


def _gradients(layer: Layer, z: Tensor, g: Tensor) -> list[Tensor]:
    """Gradients of the trained parameters for gradients ``g`` (n, ...) at the output,
    summed over examples."""
    if isinstance(layer, torch.nn.Linear):
        parts = {"weight": g.mT @ z, "bias": g.sum(0)}
        return [parts[name] for name in _trained(layer)]
    rows = _filter_gradients(layer, z, g.unsqueeze(1)).sum(0)
    return list(rows.split([p.numel() for p in _trained(layer).values()]))


def _filter_gradients(layer: torch.nn.Conv2d, z: Tensor, g: Tensor) -> Tensor:
    """Gradients of trained filters and biases, (n, outputs * parameters)."""
    assert not isinstance(layer.padding, str)  # no plain layer has that
    trained, parts = _trained(layer), []
    delta = g.flatten(3)  # (n, outputs, channels, positions)
    if "weight" in trained:
        patches = functional.unfold(
            z, layer.kernel_size, layer.dilation, layer.padding, layer.stride
        )  # (n, fan_in, positions)
        parts.append((delta.flatten(1, 2) @ patches.mT).flatten(1))
    if "bias" in trained:
        parts.append(delta.sum(3).flatten(1))
    return torch.cat(parts, 1)
