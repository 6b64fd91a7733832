"""The weights of a network as flat states, and the checks that flows of weights share."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.pullback import has_member_axis, pullback

Params = dict[str, Tensor]
Probe = Callable[[Any, Params], Callable[[Params], Tensor]]


class Weights:
    """The weights of a network as flat states, for the engine."""

    def __init__(
        self,
        net: Any,
        w: Mapping[str, Tensor],
        batch: int | None,
        alpha: Tensor,
        x: Tensor,
        x_test: Tensor | None,
        observe: Mapping[str, Probe],
    ) -> None:
        self.net, self.w, self.alpha, self.members = net, dict(w), alpha, len(alpha)
        self.x, self.x_test, self.observers = x, x_test, observe
        self.batched, self.batch = has_member_axis(net), batch
        lead = 0 if batch is None else 1
        self.layout: list[tuple[str, slice, tuple[int, ...]]] = []
        groups: dict[str, slice] = {}
        self.size = 0
        for name, value in self.w.items():
            shape = tuple(value.shape[lead:])
            span = slice(self.size, self.size + math.prod(shape))
            self.layout.append((name, span, shape))
            layer = layer_of(name)
            begin = groups[layer].start if layer in groups else span.start
            groups[layer] = slice(begin, span.stop)
            self.size = span.stop
        self.groups = list(groups.values())
        self._lengths = [span.stop - span.start for _, span, _ in self.layout]
        self._work: Params = {}
        self._probes: dict[int, dict[str, Callable[[Params], Tensor]]] = {}

    def check_targets(self, y: Tensor) -> None:
        """Refuse targets that are not like the outputs of the net.

        Raises:
            ValueError: another shape.
        """
        f = self.evaluate(self.view(self.start(0).unsqueeze(0)))[0]
        if f.shape[1:] != y.shape:
            raise ValueError(
                f"y must have the shape of net(w, x), {tuple(f.shape[1:])}; "
                f"got {tuple(y.shape)}"
            )

    def start(self, member: int) -> Tensor:
        pick = (lambda v: v) if self.batch is None else (lambda v: v[member])
        return torch.cat([pick(self.w[name]).reshape(-1) for name, _, _ in self.layout])

    def view(self, flat: Tensor) -> Params:
        """Parameters that share memory with ``flat`` (slots, size); without a member
        axis for a single slot, which spares batched products their overhead."""
        if len(flat) == 1:  # one call that cuts is cheaper than many slices
            parts = zip(self.layout, flat[0].split(self._lengths), strict=True)
            return {name: part.view(shape) for (name, _, shape), part in parts}
        rows = len(flat)
        return {k: flat[:, span].view(rows, *shape) for k, span, shape in self.layout}

    def evaluate(
        self, state: Params, work: Params | None = None
    ) -> tuple[Tensor, Callable[[Tensor, Params], Any]]:
        """f (slots, n) and its pullback, valid until the next call with this ``work``."""
        work = self._work if work is None else work
        f, pull = pullback(self.net, state, self.x, work)
        name, _, shape = self.layout[0]
        if state[name].ndim > len(shape):
            return f, pull
        return f.unsqueeze(0), lambda g, out: pull(g[0], out)

    def observe(self, member: int, state: Tensor) -> dict[str, Tensor]:
        start = self.start(member)
        norm = torch.linalg.vector_norm
        seen = {"weight_change": norm(state - start) / norm(start)}
        now = self.view(state.unsqueeze(0))
        if self.x_test is not None:
            w0 = self.view(start.unsqueeze(0))
            f, f0 = (self.net(p, self.x_test) for p in (now, w0))
            seen["F_test"] = self.alpha[member] * (f - f0)
        if self.observers:
            if member not in self._probes:
                w0 = self.view(start.unsqueeze(0))
                probes = {k: p(self.net, w0) for k, p in self.observers.items()}
                self._probes[member] = probes
            for name, probe in self._probes[member].items():
                seen[name] = probe(now)
        return seen


def layer_of(name: str) -> str:
    """The layer that a parameter belongs to: ``W3`` and ``B3``, or ``conv1.weight`` and
    ``conv1.bias``, form one group for the step rule."""
    numbered = re.fullmatch(r"[A-Za-z]+(\d+)", name)
    return numbered.group(1) if numbered else name.rpartition(".")[0] or name


def check_data(
    net: Any, w: Mapping[str, Tensor], x: Tensor, y: Tensor, x_test: Tensor | None
) -> Tensor:
    if not callable(net):
        raise TypeError(f"net must be callable as net(w, x), got {type(net).__name__}")
    if not isinstance(w, Mapping) or not w:
        raise TypeError(f"w must be a non-empty dict of tensors, got {w!r:.60}")
    first = next(iter(w.values()))
    for name, value in w.items():
        check.tensor(f"w[{name!r}]", value, like=first)
    check.tensor("x", x, like=first)
    check.tensor("y", y, ndim=(1, 2), like=first)
    if len(x) == 0 or len(x) != len(y):
        raise ValueError(
            f"x and y must hold the same number n >= 1 of examples, got {len(x)} "
            f"and {len(y)}"
        )
    if x_test is not None:
        check.tensor("x_test", x_test, shape=(None, *x.shape[1:]), like=first)
    return first


def check_alpha(alpha: Any, members: int | None) -> Tensor:
    scales = torch.as_tensor(alpha, dtype=torch.float64)
    if scales.ndim > 1 or scales.numel() == 0:
        raise ValueError(
            f"alpha must be a number or a sequence of them, got shape "
            f"{tuple(scales.shape)}"
        )
    if not bool((torch.isfinite(scales) & (scales > 0)).all()):
        raise ValueError(f"alpha must be positive and finite, got {scales.tolist()}")
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
