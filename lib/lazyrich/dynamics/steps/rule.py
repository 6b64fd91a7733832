"""How weights move in steps: how long a step may be, and what memory the motion has."""

import math
from dataclasses import dataclass

from lazyrich.core import check

_LEAST = 1e-12
"""Smallest bound on the change of a step: below it changes are rounding."""


@dataclass(frozen=True)
class StepRule:
    """When a step of the flow is good, and how long the next one should be.

    A step is accepted if the predictor moved by at most ``max_output_change`` on every
    training example (geiger2020, Eq. 18), and it is shortened beforehand so that no layer
    moves by more than ``max_weight_change`` of its own norm. The second rule is ours:
    deep in the feature regime the outputs stay near zero until the weights blow up, so
    the first rule alone lets one step jump over the whole growth phase, and t1 comes out
    too large by a factor of six.

    Attributes:
        max_output_change: bound on alpha max_mu |f(w', x_mu) - f(w, x_mu)|.
        max_weight_change: bound on |dW_l| / |W_l| for every layer l (its bias included).
        aim: the next step aims at this fraction of ``max_output_change``.
        grow, shrink: largest and smallest factor between one step and the next.

    Raises:
        TypeError, ValueError: numbers out of range.

    >>> from lazyrich.dynamics import StepRule
    >>> StepRule(0.1, 0.01).refined(10)
    StepRule(max_output_change=0.01, max_weight_change=0.001, aim=0.7, grow=1.3, shrink=0.1)
    """

    max_output_change: float = 0.1
    max_weight_change: float = 0.01
    aim: float = 0.7
    grow: float = 1.3
    shrink: float = 0.1

    def __post_init__(self) -> None:
        check.real("max_output_change", self.max_output_change, least=_LEAST)
        check.real(
            "max_weight_change", self.max_weight_change, least=_LEAST, infinite=True
        )
        check.real("aim", self.aim, least=1e-3, most=1.0)
        check.real("grow", self.grow, above=1.0, most=1e3)
        check.real("shrink", self.shrink, least=1e-3, most=0.5)

    def refined(self, factor: float) -> "StepRule":
        """The same rule with both tolerances divided by ``factor``."""
        factor = check.real("factor", factor, above=0.0)
        return StepRule(
            self.max_output_change / factor,
            self.max_weight_change / factor,
            self.aim,
            self.grow,
            self.shrink,
        )

    def next_step(self, dt: float, output_change: float) -> float:
        """Proposed length of the next (or repeated) step, from the change just seen.

        Outputs move in proportion to the step, so the length is scaled to the aim; a
        change that is not finite shrinks it by the largest factor.
        """
        if not math.isfinite(output_change):
            return dt * self.shrink
        aim = self.aim * self.max_output_change
        if output_change <= aim / self.grow:
            return dt * self.grow
        return dt * max(aim / output_change, self.shrink)


def decay(t: float, dt: float, mu: float | None, tau: float | None) -> float:
    """Share of the old velocity that survives a step from t to t + dt.

    exp(-dt/tau) for a fixed memory time; for tau = t/mu the exact integral of -dt/tau is
    mu log(t / (t + dt)), which is (t / (t + dt))^mu and 0 for the first step.
    geiger2020, Eq. 6 and below.
    """
    if mu is not None:
        return math.exp(-mu * math.log1p(dt / t)) if t > 0.0 else 0.0
    return math.exp(-dt / tau) if tau else 0.0


@dataclass(frozen=True)
class Motion:
    """How a flow moves in steps: its rule, and the memory time of its velocity.

    Attributes:
        rule: tolerances of the steps.
        mu: memory as a fraction of the elapsed time, tau = t / mu, or ``None``.
        tau: fixed memory time; 0, like ``None`` beside ``mu = None``, is no memory.

    Raises:
        TypeError, ValueError: numbers out of range, or both ``mu`` and ``tau``.
    """

    rule: StepRule
    mu: float | None
    tau: float | None

    def __post_init__(self) -> None:
        mu, tau = self.mu, self.tau
        if mu is not None and tau is not None:
            raise ValueError(f"give mu or tau, not both; got mu={mu!r} and tau={tau!r}")
        if not isinstance(self.rule, StepRule):
            raise TypeError(f"rule must be a StepRule, got {type(self.rule).__name__}")
        if mu is not None:
            check.real("mu", mu, above=0.0)
        if tau is not None:
            check.real("tau", tau, least=0.0)

    def keep(self, t: float, dt: float) -> float:
        """Share of the velocity that survives a step from t to t + dt."""
        return decay(t, dt, self.mu, self.tau)

    @property
    def settings(self) -> dict[str, float | None]:
        """What was asked for, for a ``Trajectory``."""
        return {
            "mu": self.mu,
            "tau": self.tau,
            "max_output_change": self.rule.max_output_change,
            "max_weight_change": self.rule.max_weight_change,
        }
