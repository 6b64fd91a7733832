r"""Momentum gradient flow of F = alpha (f - f0): the training dynamics of geiger2020."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.pullback import has_member_axis
from lazyrich.dynamics.engine import Checkpoint, Engine, Member, Settings
from lazyrich.dynamics.step import StepRule
from lazyrich.dynamics.trajectory import Status, Trajectory
from lazyrich.dynamics.weights import Params, Probe, Weights, check_alpha, check_data
from lazyrich.losses import loss as named_loss

LEVELS = (0.9, 0.5, 0.1, 0.05, 0.01)


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
    stop_loss: float = 0.0,
    max_steps: int = 100_000,
    max_time: float = math.inf,
    rule: StepRule | None = None,
    levels: Sequence[float] = LEVELS,
    records_per_decade: float = 8.0,
    x_test: Tensor | None = None,
    observe: Mapping[str, Probe] | None = None,
    slots: int | None = None,
    checkpoint: Checkpoint | None = None,
    checkpoint_every: int = 2000,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    r"""Train an ensemble by continuous-time gradient flow with momentum.

    The loss is L(w) = 1/(alpha^2 n) sum_mu l(F_mu, y_mu) with F = alpha (f(w) - f(w0))
    (geiger2020, Eqs. 4-5), and the flow

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
        stop_loss: a member is *fitted* once its loss is at most this fraction of its
            start; 0 waits until the loss is exactly zero, which a hinge reaches.
        max_steps, max_time: a member that gets there is *truncated*.
        rule: tolerances of the steps.
        levels: fractions of the initial loss whose times are interpolated.
        records_per_decade: density of the clock on which curves are recorded.
        x_test: points on which outputs are recorded as well.
        observe: further curves, by name; a probe is called as ``probe(net, w0)`` when a
            member starts and returns a function of ``w``, e.g. ``kernels.kernel_change``.
        slots: members that advance together; by default 1 on a CPU, and as many as a
            quarter of the free memory holds on CUDA.
        checkpoint: where the unfinished state is kept every ``checkpoint_every`` tries,
            so that a killed run goes on from there to the same result.
        progress: called as ``progress(ended, members)`` when a member ends.

    Returns:
        ``Trajectory``; a member that diverges is marked and leaves the others alone.

    Raises:
        TypeError, ValueError: arguments of the wrong form, naming them.
    """
    first = check_data(net, w, x, y, x_test)
    chosen = named_loss(loss)
    if chosen.margin and not bool((y.abs() == 1).all()):
        raise ValueError(f"y must be +1 or -1 for the loss {loss!r}")
    members = net.check_params(w) if has_member_axis(net) else None  # type: ignore
    scales = check_alpha(alpha, members)
    if mu is not None and tau is not None:
        raise ValueError(f"give mu or tau, not both; got mu={mu!r} and tau={tau!r}")
    settings = Settings(
        value=chosen.value,
        slope=chosen.slope,
        reaches_zero=chosen.reaches_zero,
        rule=StepRule() if rule is None else rule,
        mu=None if mu is None else check.real("mu", mu, above=0.0),
        tau=None if tau is None else check.real("tau", tau, least=0.0),
        stop_loss=check.real("stop_loss", stop_loss, least=0.0, most=1.0),
        max_steps=check.positive_int("max_steps", max_steps),
        max_time=check.real("max_time", max_time, above=0.0, infinite=True),
        levels=tuple(check.real("levels", v, above=0.0, most=1.0) for v in levels),
        records_per_decade=check.real(
            "records_per_decade", records_per_decade, above=0.0
        ),
    )
    system = Weights(net, w, members, scales, x, x_test, observe or {})
    system.check_targets(y)
    if slots is None:
        slots = _slots(net, system, first.device)
    engine = Engine(
        system,
        y,
        scales,
        settings,
        check.positive_int("slots", slots) if system.batched else 1,
        checkpoint,
        check.positive_int("checkpoint_every", checkpoint_every),
        progress,
    )
    done = engine.run()
    final = torch.stack([_state(done[k]) for k in range(system.members)])
    w_end = {
        name: final[:, span].reshape(-1, *shape) for name, span, shape in system.layout
    }
    asked = dict(
        loss=loss, mu=mu, tau=tau, stop_loss=stop_loss, max_steps=max_steps,
        max_output_change=settings.rule.max_output_change,
        max_weight_change=settings.rule.max_weight_change,
    )  # fmt: skip
    return collect(done, scales, settings.levels, w_end, asked)


def collect(
    done: dict[int, Member],
    alpha: Tensor,
    levels: tuple[float, ...],
    w: Params,
    asked: dict[str, Any],
) -> Trajectory:
    """The members' records as one ``Trajectory``, padded with NaN."""
    members = [done[k] for k in range(len(done))]
    longest = max(len(m.records["t"]) for m in members)
    curves: dict[str, Tensor] = {}
    for name in members[0].records:
        one = np.asarray(members[0].records[name][0])
        padded = np.full((len(members), longest, *one.shape), np.nan)
        for e, member in enumerate(members):
            rows = member.records[name]
            padded[e, : len(rows)] = rows
        curves[name] = torch.from_numpy(padded)

    def column(name: str) -> Tensor:
        # through numpy: torch would make float32 of Python numbers
        return torch.from_numpy(np.array([getattr(m, name) for m in members]))

    F = curves.pop("F")
    size = (F.flatten(2).square().mean(2)).sqrt()
    return Trajectory(
        alpha=alpha.to(torch.float64).cpu(),
        t=curves.pop("t"),
        loss=curves.pop("loss"),
        F=F,
        F_test=curves.pop("F_test", None),
        weight_change=curves.pop("weight_change"),
        output_change=size / alpha.to(torch.float64).cpu().unsqueeze(1),
        observed=curves,
        levels=levels,
        t_level=torch.tensor([m.t_level for m in members], dtype=torch.float64),
        t_zero=column("t_zero"),
        t_end=column("t"),
        loss_end=column("loss"),
        status=tuple(Status(m.status) for m in members),
        reason=tuple(m.reason for m in members),
        steps=column("steps"),
        tries=column("tries"),
        largest_output_change=column("largest_output_change"),
        w=w,
        settings=asked,
    )


def _state(member: Member) -> Tensor:
    assert member.state is not None
    return member.state


def _slots(net: Any, system: Weights, device: torch.device) -> int:
    """Members that advance together: one on a CPU, what fits the memory on CUDA."""
    if device.type != "cuda" or not system.batched:
        return 1
    width = sum(shape[0] for _, _, shape in system.layout if len(shape) == 2)
    words = 8 * system.size + 6 * len(system.x) * width
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(system.members, int(free / 4 / (8 * words))))
