r"""The lazy limit: the same flow with its tangent kernel frozen."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.dynamics.engine import Engine, Settings
from lazyrich.dynamics.momentum import LEVELS, collect
from lazyrich.dynamics.step import StepRule
from lazyrich.dynamics.trajectory import Trajectory
from lazyrich.losses import loss as named_loss


def frozen_flow(
    k_train: Tensor,
    y: Tensor,
    k_test: Tensor | None = None,
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
) -> Trajectory:
    r"""Momentum flow of a model whose tangent kernel does not move.

    geiger2020, Eqs. 25-26: the dynamics of the weights closes on the outputs,

        dF/dt = V,      tau dV/dt = -V - (1/n) sum_mu l'(F_mu, y_mu) Theta(x_mu, .),

    and everything stays in the span of the training points, F = Theta c. The engine
    integrates c, so the test outputs follow from the same state. This is the alpha to
    infinity limit of ``momentum_flow`` in the same units of time.

    Args:
        k_train: Theta between training points, (n, n), or (members, n, n).
        y: targets (n,).
        k_test: Theta between other points and the training points, (p, n), or
            (members, p, n): outputs there are recorded too.
        loss, mu, tau, stop_loss, max_steps, max_time, rule, levels, records_per_decade:
            as in ``momentum_flow``; the rule's bound on weights does not apply.

    Returns:
        ``Trajectory`` with alpha = 1; ``weight_change`` is sqrt(c . Theta c), the norm
        |w - w0| of the linearised model, and ``w`` holds ``c`` (members, n).

    Raises:
        TypeError, ValueError: arguments of the wrong form, naming them.
    """
    check.tensor("y", y, ndim=1)
    n = len(y)
    check.tensor("k_train", k_train, ndim=(2, 3), like=y)
    kernel = k_train if k_train.ndim == 3 else k_train.unsqueeze(0)
    check.tensor("k_train", kernel, shape=(None, n, n))
    cross = None
    if k_test is not None:
        check.tensor("k_test", k_test, ndim=(2, 3), like=y)
        cross = k_test if k_test.ndim == 3 else k_test.unsqueeze(0)
        check.tensor("k_test", cross, shape=(len(kernel), None, n))
    chosen = named_loss(loss)
    if chosen.margin and not bool((y.abs() == 1).all()):
        raise ValueError(f"y must be +1 or -1 for the loss {loss!r}")
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
    alpha = torch.ones(len(kernel), dtype=torch.float64)
    # one slot: each member has a kernel of its own
    done = Engine(_Coefficients(kernel, cross), y, alpha, settings, slots=1).run()
    final = torch.stack([done[k].state for k in range(len(kernel))])  # type: ignore
    asked = {"loss": loss, "frozen": True}
    return collect(done, alpha, settings.levels, {"c": final}, asked)


class _Coefficients:
    """F = Theta c with state c: gradient flow in function space moves c by -l'(F)/n."""

    def __init__(self, kernel: Tensor, cross: Tensor | None) -> None:
        self.kernel, self.cross = kernel, cross
        self.members, self.size = len(kernel), kernel.shape[-1]
        self.groups: list[slice] = []
        self._current = 0

    def start(self, member: int) -> Tensor:
        self._current = member
        return self.kernel.new_zeros(self.size)

    def view(self, flat: Tensor) -> Tensor:
        return flat

    def evaluate(self, state: Tensor) -> tuple[Tensor, Callable[[Tensor, Tensor], Any]]:
        f = state @ self.kernel[self._current]
        return f, lambda g, out: out.copy_(g)

    def observe(self, member: int, state: Tensor) -> dict[str, Tensor]:
        square = state @ self.kernel[member] @ state
        seen = {"weight_change": square.clamp(min=0.0).sqrt()}
        if self.cross is not None:
            seen["F_test"] = self.cross[member] @ state
        return seen
