r"""The lazy limit: the same flow with its tangent kernel frozen."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.spectrum import modes
from lazyrich.dynamics.member import collect, final_state, padded
from lazyrich.dynamics.problem import checked_loss
from lazyrich.dynamics.steps.engine import Engine
from lazyrich.dynamics.steps.rule import Motion, StepRule
from lazyrich.dynamics.trajectory import Trajectory
from lazyrich.dynamics.watch import Watch

_FOLLOWS = (
    "stop_loss", "max_steps", "max_time", "levels", "records_per_decade", "checkpoint",
    "checkpoint_every", "progress",
)  # fmt: skip


def frozen_flow(
    k_train: Tensor,
    y: Tensor,
    k_test: Tensor | None = None,
    *,
    loss: str = "hinge",
    mu: float | None = 1000.0,
    tau: float | None = None,
    rule: StepRule | None = None,
    watch: Watch | None = None,
    **watched: Any,
) -> Trajectory:
    r"""Momentum flow of a model whose tangent kernel does not move.

    geiger2020, Eqs. 25-26: the dynamics of the weights closes on the outputs,

        dF/dt = V,      tau dV/dt = -V - (1/n) sum_mu l'(F_mu, y_mu) Theta(x_mu, .),

    and everything stays in the span of the training points, F = Theta c. The engine
    integrates c, so the test outputs follow from the same state. This is the alpha to
    infinity limit of ``momentum_flow`` in the same units of time.

    Args:
        k_train: Theta between training points, (n, n), or (members, n, n); symmetric
            and positive semi-definite.
        y: targets (n,).
        k_test: Theta between other points and the training points, (p, n), or
            (members, p, n): outputs there are recorded too.
        loss, mu, tau, rule: as in ``momentum_flow``; the loss is the mean over examples,
            and the rule's bound on weights does not apply.
        watch, watched: a ``Watch``, or its fields as keywords; there are no weights to
            ``observe`` here, and ``k_test`` takes the place of ``x_test``.

    Returns:
        ``Trajectory`` with alpha = 1; ``weight_change`` is sqrt(c . Theta c), the norm
        |w - w0| of the linearised model, and ``w`` holds ``c`` (members, n).

    Raises:
        TypeError, ValueError: arguments of the wrong form, naming them; a kernel that is
            not symmetric, or clearly indefinite.

    >>> from lazyrich.dynamics import frozen_flow
    >>> import math, torch
    >>> kernel, y = torch.eye(2), torch.ones(2)
    >>> flow = frozen_flow(kernel, y, loss="square", mu=None, tau=0.0, max_time=1.0)
    >>> bool((flow.end("F")[0] - (1.0 - math.exp(-0.5))).abs().max() < 0.02)
    True
    """
    y = check.constant("y", y, ndim=1)
    n = len(y)
    k_train = check.kernel("k_train", k_train, n=n, members=True, like=y)
    kernel = k_train if k_train.ndim == 3 else k_train.unsqueeze(0)
    check.positive("k_train", modes("k_train", kernel)[0].flatten())
    cross = None
    if k_test is not None:
        k_test = check.constant("k_test", k_test, ndim=(2, 3), like=y)
        cross = k_test if k_test.ndim == 3 else k_test.unsqueeze(0)
        check.tensor("k_test", cross, shape=(len(kernel), None, n))
    watch = Watch.of("frozen_flow", watch, watched, follows=_FOLLOWS, max_steps=100_000)
    chosen = checked_loss(loss, y)
    motion = Motion(StepRule() if rule is None else rule, mu, tau)
    alpha = torch.ones(len(kernel), dtype=torch.float64, device="cpu")
    # one slot: each member has a kernel of its own
    system = _Coefficients(kernel, cross)
    members = Engine(system, y, alpha, chosen, motion, watch, slots=1).run()
    final = torch.stack([final_state(m) for m in members])
    asked = {"loss": loss, "frozen": True, **motion.settings, **watch.limits}
    return collect(members, padded(members), alpha, watch, {"c": final}, asked)


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
