"""Any ``torch.nn.Module`` as a pure function f(w, x) of its parameters."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import (  # type: ignore[import-not-found]
    is_functorch_wrapped_tensor,
)
from torch.func import functional_call

from lazyrich.core import check
from lazyrich.core.purity import check_pure

Params = dict[str, Tensor]

_WRAPPERS = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)


@dataclass(frozen=True)
class ModuleNet:
    """A module seen as f(w, x); see ``from_module``.

    Attributes:
        module: whose parameters are replaced by ``w`` for the time of a call.
        buffers: constants: its buffers, and the parameters that are not trained.
        shapes: of the parameters in ``w``.
        complex_names: parameters that are complex in the module; in ``w`` a last axis
            holds their real and imaginary parts.
        places: all names in the module of each parameter and buffer, which layers may
            share.
    """

    module: torch.nn.Module
    buffers: dict[str, Tensor] = field(repr=False)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)
    complex_names: frozenset[str] = frozenset()
    places: dict[str, list[str]] = field(default_factory=dict, repr=False)
    _known: set[tuple] = field(default_factory=set, repr=False, compare=False)

    any_inputs = True
    """Inputs need not be floating-point numbers: tokens are integers."""

    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """f(w, x), (n,) if the module has one output, else (n, c).

        Raises:
            TypeError, ValueError: see ``verify``.
        """
        self.verify(w, x)
        return self._outputs(w, x, self.buffers)

    def verify(self, w: Mapping[str, Tensor], x: Tensor) -> None:
        """Refuse a module that is no pure function of the parameters, example by example.

        Looked at once for inputs of a new shape or dtype, and once more in another mode,
        at the cost of three passes with at most three examples. Inputs that
        ``torch.func`` has wrapped are not looked at.

        Raises:
            TypeError: outputs that are no real floating-point tensor.
            ValueError: parameters that are missing, unknown or misshapen; inputs that the
                module does not take; outputs other than (n,) or (n, c); examples that
                depend on one another, on chance or on earlier calls.
        """
        self._check_params(w)
        if not isinstance(x, Tensor):
            raise TypeError(f"x must be a torch.Tensor, got {type(x).__name__}")
        if _is_wrapped(x) or x.is_meta or x.ndim == 0 or len(x) == 0:
            return
        modes = tuple(part.training for part in self.module.modules())
        key = (x.shape[1:], x.dtype, x.device, len(x) > 1, modes)
        if key in self._known:
            return
        if any(_is_wrapped(value) for value in w.values()):
            w = self._own(w)
        held = {name: value.clone() for name, value in self.buffers.items()}
        check_pure(
            lambda p, z: self._outputs(p, z, held),
            w,
            x,
            what="module",
            state=held,
        )
        self._known.add(key)

    def _check_params(self, w: Mapping[str, Tensor]) -> None:
        if w.keys() != self.shapes.keys():
            missing = [name for name in self.shapes if name not in w]
            unknown = [name for name in w if name not in self.shapes]
            raise ValueError(
                "w must hold the trainable parameters of the module: missing "
                f"{missing}, unknown {unknown}"
            )
        for name, shape in self.shapes.items():
            if w[name].shape != shape:
                raise ValueError(
                    f"w[{name!r}] must have shape {shape}, got {tuple(w[name].shape)}"
                )

    def _own(self, like: Mapping[str, Tensor]) -> Params:
        """The module's parameters, where those at hand cannot be looked at."""
        own = dict(self.module.named_parameters())
        return {
            name: _as_real(own[name].detach()).to(like[name].device, like[name].dtype)
            for name in self.shapes
        }

    def _outputs(
        self, w: Mapping[str, Tensor], x: Tensor, buffers: Mapping[str, Tensor]
    ) -> Any:
        values = {
            name: torch.view_as_complex(value.contiguous())
            if name in self.complex_names
            else value
            for name, value in w.items()
        }
        values = {
            place: value
            for name, value in {**values, **buffers}.items()
            for place in self.places.get(name, [name])
        }
        x = x.clone()  # a first layer in place would reach the caller's
        if isinstance(self.module, torch.jit.ScriptModule):
            f = _call_scripted(self.module, values, x)
        else:
            # ties are written out in ``places``: left to torch, a layer that is used
            # under two names would keep the other weights
            f = functional_call(self.module, values, (x,), tie_weights=False)
        if not isinstance(f, Tensor):
            return f
        return f.squeeze(-1) if f.ndim == 2 and f.shape[-1] == 1 else f


def from_module(module: torch.nn.Module) -> tuple[ModuleNet, dict[str, Tensor]]:
    """``(net, w)`` of a module, ready for ``kernels`` and ``dynamics``.

    The parameters are copied: nothing done to ``w`` reaches the module. Buffers, and
    parameters that do not require gradients, are constants. A complex parameter is a real
    one with a last axis of two. Inputs may be integers, such as tokens, where the module
    takes them.

    The module must be in ``eval()`` mode if it has layers that draw random numbers or
    couple the examples while training. That it is a function of each example by itself is
    checked on the first inputs of every shape (``ModuleNet.verify``). A module that was
    compiled, or wrapped for several devices, is taken as it was before; a scripted one is
    copied.

    Raises:
        TypeError: not a ``torch.nn.Module``.
        ValueError: layers in training mode that behave otherwise in evaluation mode,
            batch normalisation without running statistics, parts that are scripted or
            wrapped for several devices, parameters that are not initialised, or none that
            are trainable.

    >>> net, w = networks.from_module(torch.nn.Linear(3, 1))
    >>> {name: tuple(value.shape) for name, value in w.items()}
    {'weight': (1, 3), 'bias': (1,)}
    >>> net(w, torch.ones(5, 3)).shape
    torch.Size([5])
    """
    check_module(module)
    module = _unwrapped(module)
    scripted = isinstance(module, torch.jit.ScriptModule)
    for name, part in module.named_modules():
        if name and isinstance(part, _WRAPPERS):
            raise ValueError(
                f"module must not be wrapped for several devices inside, got {name!r}: "
                "put its .module in its place"
            )
        if name and isinstance(part, torch.jit.ScriptModule) and not scripted:
            raise ValueError(
                f"module must not have scripted parts, got {name!r}: hand in the module "
                "from before torch.jit.script, or script all of it"
            )
        _check_layer(part)
    if scripted:  # its parameters are replaced one by one during a call
        module = copy.deepcopy(module)
    parameters = dict(module.named_parameters())
    if any(isinstance(p, torch.nn.UninitializedParameter) for p in parameters.values()):
        raise ValueError(
            "module must be initialised, got lazy layers: run it once on some inputs"
        )
    w, constants = {}, {}
    for name, value in parameters.items():
        if value.requires_grad:
            w[name] = _as_real(value.detach()).clone()
        else:
            constants[name] = value.detach().clone()
    if not w:
        raise ValueError("module must have at least one trainable parameter, got none")
    for name, value in module.named_buffers():
        constants[name] = value.detach().clone()
    shapes = {name: tuple(value.shape) for name, value in w.items()}
    pairs = frozenset(name for name in w if parameters[name].is_complex())
    return ModuleNet(module, constants, shapes, pairs, _places(module)), w


def check_module(module: Any) -> None:
    """Refuse what is no module.

    Raises:
        TypeError: not a ``torch.nn.Module``.
    """
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"module must be a torch.nn.Module, got {type(module).__name__}"
        )


def check_inputs(name: str, x: Any, net: Any, like: Tensor) -> Tensor:
    """Inputs of ``net``: floating-point numbers like its weights, or integers where it
    may take them (``ModuleNet``), on the device of the weights.

    Raises:
        TypeError, ValueError: inputs of another kind.
    """
    tokens = isinstance(x, Tensor) and not (x.is_floating_point() or x.is_complex())
    if not (tokens and getattr(net, "any_inputs", False)):
        return check.tensor(name, x, like=like)
    if x.device != like.device:
        raise ValueError(f"{name} must be on device {like.device}, got {x.device}")
    return x


def _check_layer(part: torch.nn.Module) -> None:
    """Refuse layers that couple examples or draw, before any input is seen."""
    norm = torch.nn.modules.batchnorm._BatchNorm
    if part.training and isinstance(part, norm | torch.nn.modules.dropout._DropoutNd):
        raise ValueError(
            "module must be in evaluation mode (module.eval()): batch normalisation and "
            "dropout have no per-example gradient while training"
        )
    if isinstance(part, norm) and part.running_mean is None:
        raise ValueError(
            "module must not have batch normalisation without running statistics, which "
            "couples the examples of a batch in evaluation mode too: "
            "track_running_stats=True, or layer or group normalisation"
        )


def _unwrapped(module: torch.nn.Module) -> torch.nn.Module:
    """The module inside wrappers for several devices, and before compilation."""
    while True:
        inner = module.module if isinstance(module, _WRAPPERS) else None
        inner = getattr(module, "_orig_mod", inner)
        if not isinstance(inner, torch.nn.Module):
            return module
        module = inner


def _places(module: torch.nn.Module) -> dict[str, list[str]]:
    """All places of every parameter and buffer, by the name of the first one."""
    again = isinstance(module, torch.jit.ScriptModule)  # whose layers have no identity
    found: dict[int, list[str]] = {}
    held: list[Tensor] = []  # so that no identity is given away twice
    for prefix, part in module.named_modules(remove_duplicate=not again):
        for own, value in (
            *part.named_parameters(recurse=False, remove_duplicate=False),
            *part.named_buffers(recurse=False, remove_duplicate=False),
        ):
            held.append(value)
            name = f"{prefix}.{own}" if prefix else own
            found.setdefault(id(value), []).append(name)
    return {names[0]: names for names in found.values()}


def _as_real(value: Tensor) -> Tensor:
    return torch.view_as_real(value) if value.is_complex() else value


def _call_scripted(
    module: torch.jit.ScriptModule, values: Mapping[str, Tensor], x: Tensor
) -> Any:
    """A scripted module with other parameters and buffers, which are put back after."""
    parts = dict(module.named_modules())
    places = {
        name: (parts[name.rpartition(".")[0]], name.rpartition(".")[2])
        for name in values
    }
    kept = {name: getattr(part, own) for name, (part, own) in places.items()}
    try:
        for name, (part, own) in places.items():
            part._c.setattr(own, values[name])  # type: ignore[union-attr]
        with torch.jit.optimized_execution(False):
            return module(x)
    finally:
        for name, (part, own) in places.items():
            part._c.setattr(own, kept[name])  # type: ignore[union-attr]


def _is_wrapped(x: Any) -> bool:
    """Whether ``torch.func`` has put something around a tensor, as under ``vmap``."""
    return isinstance(x, Tensor) and is_functorch_wrapped_tensor(x)
