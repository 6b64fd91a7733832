"""What lies within a step of hinge flow: where the loss crosses levels, and records."""

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import root_scalar
from torch import Tensor

from lazyrich.dynamics.hinge.path import Kink


def hinge(m: np.ndarray) -> float:
    """The hinge loss of margins, mean of max(0, 1 - m)."""
    return float(np.maximum(1.0 - m, 0.0).mean())


class Along:
    """What lies along a step: the loss, which crosses levels, margins and weights.

    Margins are straight between kinks because the kernel is that of the middle. A kernel
    linear in the share u of the step's impulse (not of its time, which may span decades
    in which little moves) adds a parabola in u to each, until it gets to the margin; the
    two ends are known from the net.

    Args:
        kinks: times from 0 to the end of the step, margins and impulses there.
        before: margins of the net at the start.
        bend: (n,) velocity of the margins at the start under the kernel of the start,
            minus that under the kernel of the middle.
        force, middle: summed over patterns, the forces at the start and the impulse that
            led to the middle.
        weights: weights after an impulse (n,), with J^T of the middle.

    Attributes:
        at_rest: since when every pattern that does not slide is above the margin; inf if
            some never is.
    """

    def __init__(
        self,
        kinks: list[Kink],
        before: np.ndarray,
        bend: np.ndarray,
        force: float,
        middle: float,
        weights: Callable[[np.ndarray], Tensor],
    ) -> None:
        t, m, p = zip(*kinks, strict=True)
        self.t, self.m, self.p = np.array(t), np.stack(m), np.stack(p)
        self.start, self.weights = before - self.m[0], weights
        # from where it reaches the margin, a pattern has other forces upon it
        reached = np.where(self.m[0] < 1.0, self.m >= 1.0, self.m <= 1.0)
        self.until = np.where(reached.any(0), self.t[reached.argmax(0)], math.inf)
        impulse = self.p.sum(1)
        whole = float(impulse[-1])
        self.u = impulse / max(whole, 1e-300)
        # per share of the impulse; without forces at the start it is zero
        self.bend = bend * (whole / force if force > 0.0 else 0.0)
        self.curl = 0.5 * whole / middle if middle > 0.0 else 0.0
        self.end = np.zeros_like(before)  # as predicted, until the net was asked
        violated = self.m.min(1) < 1.0
        self.at_rest = math.inf if violated[-1] else float(self.t[(~violated).argmax()])

    def _straight(self, values: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Values at the kinks, at times between them."""
        k = np.clip(np.searchsorted(self.t, t, side="right") - 1, 0, len(self.t) - 2)
        width = np.maximum(self.t[k + 1] - self.t[k], 1e-300)
        piece = (t - self.t[k]) / width
        piece = piece.reshape(-1, *[1] * (values.ndim - 1))
        return values[k] * (1.0 - piece) + values[k + 1] * piece

    def margins(self, t: np.ndarray) -> np.ndarray:
        """Margins (times, n) at times since the start of the step."""
        u = self._straight(self.u, t)[:, None]
        m = self._straight(self.m, t)
        m += self.start * (1.0 - t / self.t[-1])[:, None]
        m += self.bend * (t[:, None] < self.until) * u * (1.0 - self.curl * u)
        foreseen = self.bend * np.isinf(self.until) * (1.0 - self.curl)
        m += (self.end - foreseen) * u
        return m

    def at(self, t: float) -> tuple[Tensor, np.ndarray]:
        """Weights (1, size) and margins (n,) at a time since the start of the step."""
        when = np.array([t])
        return self.weights(self._straight(self.p, when)[0]), self.margins(when)[0]

    def loss(self, t: np.ndarray) -> np.ndarray:
        return np.maximum(1.0 - self.margins(t), 0.0).mean(1)

    def crossing(self, target: float) -> float:
        """First time at which the loss is at most ``target``; the end if it never is."""
        t = np.union1d(self.t, np.linspace(0.0, self.t[-1], 33))
        loss = self.loss(t)
        below = np.flatnonzero(loss <= target)
        if not len(below):
            return float(t[-1])
        k = int(below[0])
        if k == 0:
            return 0.0
        share = (loss[k - 1] - target) / (loss[k - 1] - loss[k])
        return float(t[k - 1] + share * (t[k] - t[k - 1]))


class Smooth:
    """The same for a step without kinks, from the dense output of its Runge-Kutta method.

    Args:
        weights: weights (1, size) at a time of the flow.
        margins: of the net with such weights.
        begin, end: times of the flow.
    """

    def __init__(
        self,
        weights: Callable[[float], Tensor],
        margins: Callable[[Tensor], np.ndarray],
        begin: float,
        end: float,
    ) -> None:
        self.weights, self.margins = weights, margins
        self.begin, self.end = begin, end

    @property
    def at_rest(self) -> float:
        """As of a step with kinks: the end, if no margin is violated there."""
        violated = (self.margins(self.weights(self.end)) < 1.0).any()
        return math.inf if violated else self.end - self.begin

    def at(self, t: float) -> tuple[Tensor, np.ndarray]:
        """Weights and margins at a time since the start of the step."""
        flat = self.weights(self.begin + t)
        return flat, self.margins(flat)

    def until(self, event: Callable[[np.ndarray], float], accuracy: float) -> float:
        """When a function of the margins goes from negative to positive, a time of the
        flow, to a fraction ``accuracy`` of the step."""
        found = root_scalar(
            lambda t: event(self.margins(self.weights(t))),
            bracket=(self.begin, self.end),
            method="brentq",
            xtol=accuracy * (self.end - self.begin),
        )
        return float(found.root)

    def crossing(self, target: float) -> float:
        """Time since the start of the step at which the loss falls to ``target``."""
        if hinge(self.margins(self.weights(self.end))) >= target:
            return self.end - self.begin
        return self.until(lambda m: target - hinge(m), 1e-4) - self.begin
