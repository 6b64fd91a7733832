r"""Momentum gradient flow of F = alpha (f - f0): the training dynamics of geiger2020."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.dynamics.member import collect, final_state, padded
from lazyrich.dynamics.problem import Problem
from lazyrich.dynamics.steps.engine import Engine
from lazyrich.dynamics.steps.rule import Motion, StepRule
from lazyrich.dynamics.trajectory import Trajectory
from lazyrich.dynamics.watch import Watch
from lazyrich.dynamics.weights import Weights


def momentum_flow(
    net: Callable[[Mapping[str, Tensor], Tensor], Tensor],
    w: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    alpha: float | Tensor | Sequence[float],
    *,
    loss: str = "hinge",
    mu: float | None = 1000.0,
    tau: float | None = None,
    rule: StepRule | None = None,
    slots: int | None = None,
    watch: Watch | None = None,
    **watched: Any,
) -> Trajectory:
    r"""Train an ensemble by continuous-time gradient flow with momentum.

    The loss is the *mean* over examples, L(w) = 1/(alpha^2 n) sum_mu l(F_mu, y_mu) with
    F = alpha (f(w) - f(w0)) (geiger2020, Eqs. 4-5), and the flow

        dw/dt = v,      dv/dt = -(v + grad L) / tau,      tau = t / mu or fixed

    (Eq. 6) starts from v = 0. In these units the lazy limit is
    dF/dt = -(1/n) Theta l'(F), free of alpha and of the width. Time steps are chosen
    by ``rule``, member by member. On a CPU members run one after another on one thread,
    which is as fast as a batch there and makes a member's result the same, bit for bit,
    in any batch; run several processes to use several cores. On CUDA the members of a
    batch advance together.

    Args:
        net: a network of ``lazyrich.networks``, or any callable ``f(w, x)``.
        w: initial weights, with a member axis for an ensemble (networks of ours).
        x, y: training inputs (n, ...) and targets, (n,) or (n, c); +-1 for the hinges.
        alpha: laziness scale, one for all members or one a member. Without a member
            axis in ``w``, several alphas start from the same weights.
        loss: one of ``losses.LOSSES``.
        mu: memory as a fraction of the elapsed time, tau = t / mu; ``None`` if ``tau``.
        tau: fixed memory time; 0 is gradient flow without momentum.
        rule: tolerances of the steps.
        slots: members that advance together; by default 1 on a CPU, and as many as a
            quarter of the free memory holds on CUDA.
        watch, watched: levels, records, limits (100,000 steps unless told otherwise) and
            checkpoints: a ``Watch``, or its fields as keywords.

    Returns:
        ``Trajectory``; a member that diverges is marked and leaves the others alone.

    Raises:
        TypeError, ValueError: arguments of the wrong form, naming them.

    >>> from lazyrich.dynamics import momentum_flow
    >>> import torch
    >>> from lazyrich.networks import FullyConnected
    >>> net = FullyConnected(d=2, h=16, L=1)
    >>> x = torch.eye(2, dtype=torch.float64)
    >>> y = torch.tensor([1.0, -1.0], dtype=torch.float64)
    >>> flow = momentum_flow(net, net.init(0), x, y, alpha=10.0, stop_loss=0.1)
    >>> flow.status[0].value, bool(flow.loss_end[0] <= 0.1)
    ('fitted', True)
    """
    watch = Watch.of("momentum_flow", watch, watched, max_steps=100_000)
    problem = Problem(net, w, x, y, alpha, loss)
    motion = Motion(StepRule() if rule is None else rule, mu, tau)
    system = Weights(problem, watch)
    y = problem.y
    system.check_targets(y)
    if slots is None:
        slots = _slots(system, problem.first.device)
    slots = check.positive_int("slots", slots) if system.batched else 1
    members = Engine(system, y, problem.alpha, problem.loss, motion, watch, slots).run()
    w_end = system.gather(torch.stack([final_state(m) for m in members]))
    asked = {"loss": loss, **motion.settings, **watch.limits}
    curves = padded(members)
    return collect(members, curves, problem.alpha, watch, w_end, asked)


def _slots(system: Weights, device: torch.device) -> int:
    """Members that advance together: one on a CPU, what fits the memory on CUDA."""
    if device.type != "cuda" or not system.batched:
        return 1
    width = sum(shape[0] for _, _, shape in system.layout if len(shape) == 2)
    words = 8 * system.size + 6 * len(system.x) * width
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(system.members, int(free / 4 / (8 * words))))
