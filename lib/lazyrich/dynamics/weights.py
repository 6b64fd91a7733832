"""The weights of a network as flat states, in which flows move them."""

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lazyrich.core.module import check_inputs
from lazyrich.core.pullback import pullback
from lazyrich.dynamics.problem import Params, Problem
from lazyrich.dynamics.watch import Probe, Watch


class Weights:
    """Flat states of the weights of a problem, and what is seen of them.

    Args:
        problem: whose weights they are.
        watch: the points and probes that are recorded.

    Raises:
        TypeError, ValueError: test points that are not like the training points.
    """

    def __init__(self, problem: Problem, watch: Watch) -> None:
        self.net, self.w, self.x = problem.net, problem.w, problem.x
        self.alpha, self.members = problem.alpha, len(problem.alpha)
        self.batched, self.batch = problem.batched, problem.ensemble
        self.x_test, self.observers = watch.x_test, dict(watch.observe or {})
        if self.x_test is not None:
            x_test = check_inputs("x_test", self.x_test, self.net, problem.first)
            self.x_test = x_test.detach()
            if self.x_test.shape[1:] != self.x.shape[1:]:
                shape = ("any", *self.x.shape[1:])
                raise ValueError(
                    f"x_test must have shape ({', '.join(map(str, shape))}), "
                    f"got {tuple(self.x_test.shape)}"
                )
        self._set_layout()
        self._work: Params = {}
        self._probes: dict[int, dict[str, Callable[[Params], Tensor]]] = {}

    def _set_layout(self) -> None:
        """Where each parameter lies in a state, and which ones form a layer."""
        lead = 0 if self.batch is None else 1
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

    def check_targets(self, y: Tensor) -> None:
        """Refuse targets that are not like the outputs of the net.

        Raises:
            ValueError: another shape.
        """
        f = self.evaluate(self.view(self.start(0).unsqueeze(0)))[0]
        if not isinstance(f, Tensor):
            raise TypeError(f"net must give a tensor, got {type(f).__name__}")
        if f.shape[1:] != y.shape:
            raise ValueError(
                f"y must have the shape of net(w, x), {tuple(f.shape[1:])}; "
                f"got {tuple(y.shape)}"
            )

    def start(self, member: int) -> Tensor:
        """(size,) weights with which a member begins."""
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

    def gather(self, states: Tensor) -> Params:
        """The parameters in states (members, size), each with an axis of members."""
        return {
            name: states[:, span].reshape(-1, *shape)
            for name, span, shape in self.layout
        }

    def observe(self, member: int, state: Tensor) -> dict[str, Tensor]:
        """What is recorded of a state (size,) besides loss and training outputs."""
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
                self._probes[member] = start_probes(self.observers, self.net, w0)
            for name, probe in self._probes[member].items():
                seen[name] = probe(now)
        return seen


def start_probes(
    observers: dict[str, Probe], net: Any, w0: Params
) -> dict[str, Callable[[Params], Tensor]]:
    """The functions of the weights that the probes give for a start at ``w0``."""
    return {name: probe(net, w0) for name, probe in observers.items()}


def layer_of(name: str) -> str:
    """The layer that a parameter belongs to: ``W3`` and ``B3``, or ``conv1.weight`` and
    ``conv1.bias``, form one group for the step rule."""
    numbered = re.fullmatch(r"[A-Za-z]+(\d+)", name)
    return numbered.group(1) if numbered else name.rpartition(".")[0] or name
