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
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.threads import one_thread
from lazyrich.dynamics.hinge.impulse import (
    LEAST_TOLERANCE,
    Kernel,
    chain_kernel,
    check_given,
    impulse_flow,
)
from lazyrich.dynamics.hinge.path import HingePath
from lazyrich.dynamics.problem import Problem
from lazyrich.dynamics.steps.momentum import momentum_flow
from lazyrich.dynamics.steps.rule import Motion, StepRule
from lazyrich.dynamics.trajectory import Trajectory, interleave
from lazyrich.dynamics.watch import Checkpoint, Watch
from lazyrich.dynamics.weights import Weights

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
    kernel: Kernel | None = None,
    watch: Watch | None = None,
    **watched: Any,
) -> Trajectory:
    """Train an ensemble on the hinge loss, each member by the integrator that suits it.

    The loss is the mean over examples. Gradient flow and the flow with momentum t / mu
    are the same to a fraction of a per cent wherever ``"auto"`` takes the former.

    Args:
        net, w, x, y, alpha: as in ``momentum_flow``; y is +-1, shape (n,).
        integrator: ``"impulse"``, ``"momentum"``, or ``"auto"``: impulses for members
            whose ``frozen_movement`` is at most 300, momentum for the others.
        tolerance, kernel: of ``impulse_flow``.
        mu, rule: of ``momentum_flow``.
        watch, watched: as in both, a ``Watch`` or its fields as keywords; each
            integrator's own ``max_steps`` and ``checkpoint_every`` hold where they are
            not given.

    Returns:
        ``Trajectory``. ``settings["integrator"]`` holds one name a member, and with
        ``"auto"`` ``settings["frozen_movement"]`` the number it was chosen by.

    Raises:
        TypeError, ValueError: arguments of the wrong form, naming them.

    >>> from lazyrich.dynamics import hinge_flow
    >>> import torch
    >>> from lazyrich.networks import FullyConnected
    >>> net = FullyConnected(d=2, h=16, L=1)
    >>> x = torch.eye(2, dtype=torch.float64)
    >>> y = torch.tensor([1.0, -1.0], dtype=torch.float64)
    >>> flow = hinge_flow(net, net.init(0), x, y, alpha=[1e-4, 10.0], stop_loss=0.9)
    >>> flow.settings["integrator"]
    ('momentum', 'impulse')
    """
    check.one_of("integrator", integrator, INTEGRATORS)
    watch = Watch.of("hinge_flow", watch, watched)
    # looked at whichever integrator will be chosen
    Motion(StepRule() if rule is None else rule, mu, None)
    tolerance = check.real("tolerance", tolerance, least=LEAST_TOLERANCE, most=1.0)
    problem = Problem(net, w, x, y, alpha, "hinge")
    scales, members = problem.alpha, problem.ensemble
    w, x, y = problem.w, problem.x, problem.y
    movement: Tensor | None = None
    if integrator == "auto":
        movement = frozen_movement(net, w, x, y, scales, kernel=kernel)
        names = ["impulse" if v <= MOST_MOVEMENT else "momentum" for v in movement]
    else:
        names = [integrator] * len(scales)
    own = {
        "impulse": (impulse_flow, {"tolerance": tolerance, "kernel": kernel}),
        "momentum": (momentum_flow, {"loss": "hinge", "mu": mu, "rule": rule}),
    }
    shared = _Shared(watch.checkpoint) if watch.checkpoint is not None else None
    parts: list[tuple[list[int], Trajectory]] = []
    ended = 0
    for name, (flow, settings) in own.items():
        chosen = [k for k, each in enumerate(names) if each == name]
        if not chosen:
            continue
        some = w if members is None else {k: v[chosen] for k, v in w.items()}
        part = replace(watch, checkpoint=None if shared is None else shared.part(name))
        if watch.progress is not None:
            told = _Offset(watch.progress, ended, len(names))
            part = replace(part, progress=told)
        found = flow(net, some, x, y, scales[chosen], **settings, watch=part)
        parts.append((chosen, found))
        ended += len(chosen)
    asked = {
        "loss": "hinge", "integrator": tuple(names), "tolerance": tolerance, "mu": mu,
        "reduction": "mean", **watch.limits,
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

    >>> from lazyrich.dynamics import frozen_movement
    >>> import torch
    >>> from lazyrich.networks import FullyConnected
    >>> net = FullyConnected(d=2, h=16, L=1)
    >>> x = torch.eye(2, dtype=torch.float64)
    >>> y = torch.tensor([1.0, -1.0], dtype=torch.float64)
    >>> lazy, rich = frozen_movement(net, net.init(0), x, y, alpha=[100.0, 0.01])
    >>> bool(lazy < 0.1 < rich), round(float(rich / lazy))
    (True, 10000)
    """
    problem = Problem(net, w, x, y, alpha, "hinge")
    check.tensor("y", problem.y, ndim=1)
    w, x, y = problem.w, problem.x, problem.y
    scales = problem.alpha
    system = Weights(problem, Watch())
    system.check_targets(y)
    if kernel is not None:
        check_given(kernel, net, system)
    gram = chain_kernel(net, system) if kernel is None else kernel
    found: list[float] = []
    with torch.no_grad(), one_thread():
        for index in range(len(scales)):
            if problem.ensemble is None and found:  # one set of weights for every alpha
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
    return torch.tensor(found, dtype=torch.float64, device="cpu")


def _force_to_half(theta: Tensor, y: Tensor) -> Tensor | None:
    """y p / n at half the loss, p the impulse on the path of a frozen kernel."""
    sign = y.double().cpu().numpy()
    path = HingePath(theta.double().cpu().numpy() * np.outer(sign, sign), 0.0 * sign)
    while path.loss > 0.5 + 1e-12:
        wait = path.time_to(0.5)
        if path.advance(wait) == 0.0 and (path.stuck or math.isinf(wait)):
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
