r"""What a flow costs at which accuracy: stepping through kinks against impulses.

A scheme is judged by two results of a run to one per cent of the initial loss, the time t1
to half the loss and the change of the tangent kernel, and paid for by passes through the
network with derivatives. Gradient flow and the flow with momentum are two flows, so each
scheme is compared with a tight run of its own.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lazyrich.core.pullback import member
from lazyrich.dynamics import (
    StepRule,
    Trajectory,
    impulse_flow,
    momentum_flow,
)
from lazyrich.dynamics.hinge.path import HingePath
from lazyrich.kernels import kernel_distance, ntk
from lazyrich.networks import FullyConnected

SCHEMES = ("impulse", "momentum", "euler")
"""Impulses on frozen kernels; the momentum flow with mu = 1000 and gradient flow, both in
small steps."""


class Counted:
    """A network that counts how often it is linearised."""

    def __init__(self, net: FullyConnected) -> None:
        self.net, self.passes = net, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.net, name)

    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        return self.net(w, x)

    def pullback(self, *arguments: Any) -> Any:
        self.passes += 1
        return self.net.pullback(*arguments)

    def tangent_factors(self, *arguments: Any) -> Any:
        self.passes += 1
        return self.net.tangent_factors(*arguments)


@dataclass(frozen=True)
class Solved:
    """One run.

    Attributes:
        scheme, tolerance: what was asked; for steps the bound on outputs.
        t1, t_tenth: times to half and to a tenth of the loss.
        change: relative change of the kernel at the end.
        passes: passes through the network with derivatives.
        cpu: seconds of this process; no two runs agree on it.
        fitted: whether it got to the end.
        t, loss: the curve.
        work: passes made at every record of the curve, (k,).
    """

    scheme: str
    tolerance: float
    t1: float
    t_tenth: float
    change: float
    passes: int
    cpu: float
    fitted: bool
    t: np.ndarray
    loss: np.ndarray
    work: np.ndarray


def solve(
    net: FullyConnected,
    w: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    x_kernel: Tensor,
    alpha: float,
    scheme: str,
    tolerance: float,
    *,
    stop_loss: float = 0.01,
    max_steps: int = 50_000,
    records_per_decade: float = 8.0,
) -> Solved:
    """Run one scheme at one tolerance.

    Args:
        net, w, x, y, alpha: as in ``momentum_flow``, w without a member axis.
        x_kernel: points of the kernel whose change is measured.
        scheme: one of ``SCHEMES``.
        tolerance: of ``impulse_flow``, or the bound on outputs of a step; that on weights
            is a tenth of it.
        stop_loss, max_steps, records_per_decade: of the flow.
    """
    counted = Counted(net)
    options: dict[str, Any] = dict(
        stop_loss=stop_loss, max_steps=max_steps,
        records_per_decade=records_per_decade,
        observe={"work": lambda _net, _w0: lambda _w: torch.tensor(counted.passes)},
    )  # fmt: skip
    start = time.process_time()
    flow: Trajectory
    if scheme == "impulse":
        flow = impulse_flow(counted, w, x, y, alpha, tolerance=tolerance, **options)
    elif scheme in SCHEMES:
        memory = {"mu": 1000.0} if scheme == "momentum" else {"mu": None, "tau": 0.0}
        rule = StepRule(tolerance, 0.1 * tolerance)
        flow = momentum_flow(counted, w, x, y, alpha, rule=rule, **memory, **options)
    else:
        raise ValueError(f"scheme must be one of {SCHEMES}, got {scheme!r}")
    cpu = time.process_time() - start
    end = member(flow.w, 0)
    change = kernel_distance(ntk(net, end, x_kernel), ntk(net, w, x_kernel))
    return Solved(
        scheme, tolerance, float(flow.t1), float(flow.time_to(0.1)), float(change),
        counted.passes, cpu,
        bool(flow.fitted), flow.t[0].numpy(), flow.loss[0].numpy(),
        flow.observed["work"][0].numpy(),
    )  # fmt: skip


def errors(runs: Sequence[Solved], reference: Solved) -> tuple[np.ndarray, np.ndarray]:
    """Relative errors (runs,) of t1 and of the kernel change against ``reference``."""
    t1 = np.array([run.t1 for run in runs]) / reference.t1 - 1.0
    change = np.array([run.change for run in runs]) / reference.change - 1.0
    return t1, change


def order(
    net: FullyConnected,
    w: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    alpha: float,
    tolerances: Sequence[float],
    finest: float,
    level: float = 0.1,
) -> tuple[np.ndarray, np.ndarray]:
    """Steps taken by impulses, and the error of the time to a tenth of the loss.

    A scheme of order two has errors that fall as the square of the number of steps.

    Args:
        net, w, x, y, alpha: as in ``solve``.
        tolerances: of the runs.
        finest: that of the run they are compared with.
        level: of the loss at which runs end, as a fraction of its start.

    Returns:
        steps and relative errors, one for each of ``tolerances``.
    """
    found = [
        impulse_flow(
            net, w, x, y, alpha, tolerance=each, stop_loss=level, levels=(level,)
        )
        for each in (*tolerances, finest)
    ]
    times = np.array([float(flow.time_to(level)) for flow in found])
    steps = np.array([int(flow.steps) for flow in found[:-1]], dtype=float)
    return steps, np.abs(times[:-1] / times[-1] - 1.0)


@dataclass(frozen=True)
class Chatter:
    """Margins of a frozen kernel, exactly and in steps.

    Attributes:
        t, m: times (k,) and margins (k, n) at the kinks of the exact path.
        s: (k, n) forces, each up to the next kink.
        t_step, m_step: the same by Euler steps.
        crossings: how often a margin crossed one in the steps.
    """

    t: np.ndarray
    m: np.ndarray
    s: np.ndarray
    t_step: np.ndarray
    m_step: np.ndarray
    crossings: int


def chatter(theta: Tensor, y: Tensor, dt: float) -> Chatter:
    """The exact path under a frozen kernel (n, n) to zero loss, and Euler steps ``dt``."""
    sign, n = y.numpy(), len(y)
    Q = theta.numpy() * np.outer(sign, sign)
    path = HingePath(Q, np.zeros(n))
    t, m, s = [0.0], [path.m.copy()], [path.s.copy()]
    while path.advance(math.inf) > 0.0:
        t.append(path.t)
        m.append(path.m.copy())
        s.append(path.s.copy())
    margins = [np.zeros(n)]
    for _ in range(math.ceil(path.t / dt)):
        margins.append(margins[-1] + dt / n * Q @ (margins[-1] < 1.0))
    steps = np.array(margins)
    crossed = ((steps[1:] < 1.0) != (steps[:-1] < 1.0)).sum()
    return Chatter(
        np.array(t), np.array(m), np.array(s), dt * np.arange(len(steps)), steps,
        int(crossed),
    )  # fmt: skip


def kkt_violation(theta: Tensor, y: Tensor) -> dict[str, float]:
    """How far the exact path is from its defining conditions, at every kink of it.

    Returns:
        ``rest``: largest speed of a sliding pattern. ``box``: how far a force leaves
        [0, 1]. ``balance``: m - Q p / n, all events summed up. ``events``: their number.
    """
    sign, n = y.numpy(), len(y)
    Q = theta.numpy() * np.outer(sign, sign)
    path = HingePath(Q, np.zeros(n))
    rest = box = 0.0
    while path.advance(math.inf) > 0.0:
        v = Q @ path.s / n
        scale = float(np.abs(Q).max())
        if len(path.sliding):
            rest = max(rest, float(np.abs(v[path.sliding.members]).max()) / scale)
        outside = np.maximum(-path.s, path.s - 1.0).max()
        box = max(box, float(outside))
    balance = float(np.abs(path.m - Q @ path.p / n).max())
    return {"rest": rest, "box": box, "balance": balance, "events": float(path.events)}
