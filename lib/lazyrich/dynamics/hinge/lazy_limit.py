r"""The lazy limit of hinge flow: one kernel, frozen, and the path of every margin."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.spectrum import modes
from lazyrich.core.threads import one_thread
from lazyrich.dynamics.hinge.path import HingePath
from lazyrich.dynamics.member import Member, collect, padded
from lazyrich.dynamics.trajectory import Status, Trajectory
from lazyrich.dynamics.watch import Watch, log_clock

_FOLLOWS = ("stop_loss", "levels", "records_per_decade")


def hinge_path(
    k_train: Tensor,
    y: Tensor,
    k_test: Tensor | None = None,
    *,
    nugget: float = 0.0,
    max_events: int = 1_000_000,
    watch: Watch | None = None,
    **watched: Any,
) -> Trajectory:
    r"""Gradient flow of the hinge loss with a frozen kernel, exact up to rounding.

    The limit mu to infinity of ``frozen_flow``, without its steps; the loss is the mean
    over examples. n patterns need a few
    times n events of O(n k) operations, k of them sliding.

    Args:
        k_train: Theta between training points, (n, n), or (members, n, n); symmetric
            and positive semi-definite.
        y: targets (n,), +-1.
        k_test: Theta between other points and the training points, (p, n), or
            (members, p, n): outputs there are recorded too.
        nugget: added to the diagonal of ``k_train``, in units of its mean: for kernels
            of trained nets, which may be singular to rounding.
        max_events: a member that meets more of them is *truncated*.
        watch, watched: ``stop_loss``, ``levels`` and ``records_per_decade`` of a ``Watch``,
            or as keywords; levels are crossed exactly.

    Returns:
        ``Trajectory`` with alpha = 1, as from ``frozen_flow``; ``steps`` counts events,
        and ``w`` holds ``c`` = y p / n (members, n), for which F = Theta c.

    Raises:
        TypeError, ValueError: arguments of the wrong form, naming them; a kernel that is
            singular where it matters.

    >>> from lazyrich.dynamics import hinge_path
    >>> import torch
    >>> kernel, y = torch.tensor([[4.0]]), torch.tensor([-1.0])
    >>> flow = hinge_path(kernel, y)  # the margin grows at the speed 4
    >>> float(flow.t1), float(flow.t2)
    (0.125, 0.25)
    """
    watch = Watch.of("hinge_path", watch, watched, follows=_FOLLOWS)
    max_events = check.positive_int("max_events", max_events)
    watch = replace(watch, max_steps=max_events)
    y = check.constant("y", y, ndim=1)
    n = len(y)
    if n == 0 or not bool((y.abs() == 1).all()):
        raise ValueError("y must hold +1 or -1 for at least one pattern")
    k_train = check.kernel("k_train", k_train, n=n, members=True, like=y)
    kernels = k_train if k_train.ndim == 3 else k_train.unsqueeze(0)
    cross = None
    if k_test is not None:
        k_test = check.constant("k_test", k_test, ndim=(2, 3), like=y)
        cross = k_test if k_test.ndim == 3 else k_test.unsqueeze(0)
        if cross.shape[0] != len(kernels) or cross.shape[2] != n:
            raise ValueError(
                f"k_test must have shape (..., p, {n}) with the members of k_train, "
                f"got {tuple(k_test.shape)}"
            )
    nugget = check.real("nugget", nugget, least=0.0)
    rates = modes("k_train", kernels)[0]
    check.positive("k_train", rates + nugget * rates.mean(-1, keepdim=True))
    sign = y.double().cpu().numpy()
    with one_thread():
        members = [
            _follow(index, _regular(kernel.double().cpu().numpy(), nugget), sign, watch)
            for index, kernel in enumerate(kernels)
        ]
    curves = padded(members)
    c = curves.pop("c")
    if cross is not None:
        curves["F_test"] = torch.einsum("mkn,mpn->mkp", c, cross.double().cpu())
    square = torch.einsum("mkn,mkn->mk", c, curves["F"]).clamp(min=0.0)
    curves["weight_change"] = square.sqrt()
    ends = torch.stack([torch.from_numpy(m.records["c"][-1]) for m in members])
    asked = {
        "loss": "hinge",
        "frozen": True,
        "exact": True,
        "stop_loss": watch.stop_loss,
    }
    alpha = torch.ones(len(members), dtype=torch.float64, device="cpu")
    return collect(members, curves, alpha, watch, {"c": ends}, asked)


def _regular(kernel: np.ndarray, nugget: float) -> np.ndarray:
    return kernel + nugget * np.trace(kernel) / len(kernel) * np.eye(len(kernel))


def _follow(index: int, kernel: np.ndarray, y: np.ndarray, watch: Watch) -> Member:
    """One member, with records on the clock and exact crossings of the levels."""
    n = len(y)
    path = HingePath(kernel * np.outer(y, y), np.zeros(n))
    member = Member(index, largest_output_change=math.nan)
    member.begin(path.loss, watch)

    def record() -> None:
        member.record(t=path.t, loss=path.loss, F=y * path.m, c=y * path.p / n)

    record()
    # the first record lies as far before the first event as the clock is fine
    first, _ = path.next_event()
    clock = first / 100.0 if math.isfinite(first) else math.inf
    target = max(watch.stop_loss or 0.0, 0.0) * member.loss_start
    while not member.status:
        t_before, events = path.t, path.events
        path.advance(max(min(clock - path.t, path.time_to(target)), 0.0))
        member.book(
            path.t, path.t - t_before, path.loss, watch,
            steps=path.events - events, limit="max_events",
        )  # fmt: skip
        if path.stuck and member.status is not Status.FITTED:
            member.end(
                Status.TRUNCATED,
                "no margin moves any more: the kernel cannot fit the labels",
            )
        came = path.t >= clock * (1 - 1e-12) and path.events == events
        if member.status or came:
            record()
            clock = log_clock(watch.records_per_decade, path.t * (1 + 1e-9))
    member.tries = member.steps
    if member.is_zero:
        member.loss = 0.0  # what the margins miss is rounding
    return member
