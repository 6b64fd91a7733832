r"""Hinge flow with the integrator that its regime asks for.

Impulses on frozen kernels (``impulse_flow``) take few steps where the kernel changes
little while patterns cross the margin, at the lazy end above all. Deep in the feature
regime the curvature of the network keeps their steps short, and the momentum flow with
its small, cheap steps gets through at less expense.

What decides is measured, not guessed from alpha and the width: how far the weights would
have to move, relative to themselves, if the kernel of the start were to halve the loss.
In the lazy regime that is what they do move. It is of the order of 1/(sqrt(h) alpha).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.pullback import has_member_axis
from lazyrich.core.threads import one_thread
from lazyrich.dynamics.engine import Checkpoint
from lazyrich.dynamics.hinge_path import HingePath
from lazyrich.dynamics.impulse import Kernel, chain_kernel, impulse_flow
from lazyrich.dynamics.momentum import LEVELS, momentum_flow
from lazyrich.dynamics.step import StepRule
from lazyrich.dynamics.trajectory import Trajectory, interleave
from lazyrich.dynamics.weights import Probe, Weights, check_alpha, check_data

INTEGRATORS = ("auto", "impulse", "momentum")

MOST_MOVEMENT = 300.0
"""Movement of the weights beyond which impulses cost more than momentum steps; measured
on digits, where it is sqrt(h) alpha = 2e-3 (n = 200, L = 5, h = 30)."""


def hinge_flow(
    net: Callable[[Mapping[str, Tensor], Tensor], Tensor],
    w: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    alpha: float | Tensor | Sequence[float],
    *,
    integrator: str = "auto",
    tolerance: float = 0.02,
    mu: float = 1000.0,
    rule: StepRule | None = None,
    stop_loss: float = 0.0,
    max_steps: int | None = None,
    max_time: float = math.inf,
    levels: Sequence[float] = LEVELS,
    records_per_decade: float = 8.0,
    x_test: Tensor | None = None,
    observe: Mapping[str, Probe] | None = None,
    kernel: Kernel | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    """Train an ensemble on the hinge loss, each member by the integrator that suits it.

    Gradient flow and the flow with momentum t / mu are the same to a fraction of a per
    cent wherever ``"auto"`` takes the former.

    Args:
        net, w, x, y, alpha: as in ``momentum_flow``; y is +-1, shape (n,).
        integrator: ``"impulse"``, ``"momentum"``, or ``"auto"``: impulses for members
            whose ``frozen_movement`` is at most 300, momentum for the others.
        tolerance, kernel: of ``impulse_flow``.
        mu, rule: of ``momentum_flow``.
        stop_loss, max_time, levels, records_per_decade: as in both.
        x_test, observe, checkpoint, progress: as in both.
        max_steps: a member that gets there is *truncated*; each integrator's own default
            if it is not given.

    Returns:
        ``Trajectory``. ``settings["integrator"]`` holds one name a member, and with
        ``"auto"`` ``settings["frozen_movement"]`` the number it was chosen by.

    Raises:
        TypeError, ValueError: arguments of the wrong form, naming them.
    """
    check.one_of("integrator", integrator, INTEGRATORS)
    check_data(net, w, x, y, x_test)
    members = net.check_params(w) if has_member_axis(net) else None  # type: ignore
    scales = check_alpha(alpha, members)
    movement: Tensor | None = None
    if integrator == "auto":
        movement = frozen_movement(net, w, x, y, scales, kernel=kernel)
        names = ["impulse" if v <= MOST_MOVEMENT else "momentum" for v in movement]
    else:
        names = [integrator] * len(scales)
    common: dict[str, Any] = dict(
        stop_loss=stop_loss, max_time=max_time, levels=levels, x_test=x_test,
        records_per_decade=records_per_decade, observe=observe,
    )  # fmt: skip
    if max_steps is not None:
        common["max_steps"] = max_steps
    own = {
        "impulse": (impulse_flow, {"tolerance": tolerance, "kernel": kernel}),
        "momentum": (momentum_flow, {"loss": "hinge", "mu": mu, "rule": rule}),
    }
    shared = _Shared(checkpoint) if checkpoint is not None else None
    parts: list[tuple[list[int], Trajectory]] = []
    ended = 0
    for name, (flow, settings) in own.items():
        chosen = [k for k, each in enumerate(names) if each == name]
        if not chosen:
            continue
        some = w if members is None else {k: v[chosen] for k, v in w.items()}
        report = None
        if progress is not None:
            report = _Offset(progress, ended, len(names))
        found = flow(
            net, some, x, y, scales[chosen], **settings, **common,
            checkpoint=None if shared is None else shared.part(name), progress=report,
        )  # fmt: skip
        parts.append((chosen, found))
        ended += len(chosen)
    asked = {
        "loss": "hinge", "integrator": tuple(names), "stop_loss": stop_loss,
        "tolerance": tolerance, "mu": mu,
    }  # fmt: skip
    if movement is not None:
        asked["frozen_movement"] = tuple(movement.tolist())
    return interleave(parts, asked)


def frozen_movement(
    net: Callable[[Mapping[str, Tensor], Tensor], Tensor],
    w: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    alpha: float | Tensor | Sequence[float],
    *,
    kernel: Kernel | None = None,
) -> Tensor:
    """How far weights must move for the kernel of the start to halve the hinge loss.

    The largest |W - W0| / |W0| of a layer at half the loss, were the kernel frozen:
    proportional to 1/alpha, below one in the lazy regime, far above it in the other.

    Args:
        net, w, x, y, alpha: as in ``hinge_flow``.
        kernel: as in ``impulse_flow``.

    Returns:
        (members,); infinite where that kernel cannot halve the loss.

    Raises:
        TypeError, ValueError: arguments of the wrong form, naming them.
    """
    check_data(net, w, x, y, None)
    check.tensor("y", y, ndim=1)
    if not bool((y.abs() == 1).all()):
        raise ValueError("y must be +1 or -1")
    members = net.check_params(w) if has_member_axis(net) else None  # type: ignore
    scales = check_alpha(alpha, members)
    system = Weights(net, w, members, scales, x, None, {})
    system.check_targets(y)
    gram = chain_kernel(net, system) if kernel is None else kernel
    found: list[float] = []
    with torch.no_grad(), one_thread():
        for index in range(len(scales)):
            if members is None and found:  # one set of weights for every alpha
                found.append(found[0] * float(scales[0] / scales[index]))
                continue
            start = system.start(index).unsqueeze(0)
            view = system.view(start)
            force = _force_to_half(gram(net, view, x), y)
            if force is None:
                found.append(math.inf)
                continue
            change = torch.zeros_like(start)
            _, pull = system.evaluate(view, {})
            pull(force.unsqueeze(0) / scales[index], system.view(change))
            shares = [
                float(change[0, g].norm() / start[0, g].norm())
                for g in system.groups
                if float(start[0, g].norm()) > 0.0
            ]
            found.append(max(shares, default=math.inf))
    return torch.tensor(found, dtype=torch.float64)


def _force_to_half(theta: Tensor, y: Tensor) -> Tensor | None:
    """y p / n at half the loss, p the impulse on the path of a frozen kernel."""
    sign = y.double().cpu().numpy()
    path = HingePath(theta.double().cpu().numpy() * np.outer(sign, sign), 0.0 * sign)
    while path.loss > 0.5 + 1e-12:
        below = path.m < 1.0
        slope = float(-path.v[below].sum() / path.n)
        wait = (path.loss - 0.5) / -slope if slope < 0.0 else math.inf
        if path.advance(wait) == 0.0 and (path.stuck or slope >= 0.0):
            return None
    return torch.from_numpy(sign * path.p / path.n).to(y)


class _Offset:
    """Progress of one part, told as that of the whole."""

    def __init__(self, tell: Callable[[int, int], None], done: int, total: int) -> None:
        self.tell, self.done, self.total = tell, done, total

    def __call__(self, ended: int, _members: int) -> None:
        self.tell(self.done + ended, self.total)


class _Shared:
    """One checkpoint for both integrators, each under its own name."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.state: dict[str, np.ndarray] = dict(checkpoint.load() or {})

    def part(self, name: str) -> "_Part":
        return _Part(self, f"{name}:")


class _Part:
    def __init__(self, whole: _Shared, prefix: str) -> None:
        self.whole, self.prefix = whole, prefix

    def load(self) -> dict[str, np.ndarray] | None:
        state = self.whole.state
        mine = {k.removeprefix(self.prefix): v for k, v in state.items()
                if k.startswith(self.prefix)}  # fmt: skip
        return mine or None

    def save(self, state: Mapping[str, np.ndarray]) -> None:
        kept = self.whole.state
        others = {k: v for k, v in kept.items() if not k.startswith(self.prefix)}
        self.whole.state = others | {self.prefix + k: v for k, v in state.items()}
        self.whole.checkpoint.save(self.whole.state)
