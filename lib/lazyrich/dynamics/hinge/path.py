r"""The hinge flow of a frozen kernel, followed exactly from kink to kink.

With margins m = y F, Q = y Theta y^T and the hinge loss, gradient flow in function space
(geiger2020, Eqs. 25-26, without momentum) reads

    dm/dt = (1/n) Q s,    s_i = 1 where m_i < 1,  s_i = 0 where m_i > 1,

and s_i in [0, 1] where m_i = 1: a pattern that reaches the margin and is pushed back by
the others *slides* along it, with the force that keeps it there. Between events s is
constant and m is a straight line, so the flow is a finite sequence of straight pieces; no
time step is chosen and no tolerance enters. Stepping through the kinks chatters instead:
every sliding pattern crosses the margin at every step.

What carries the solution is the impulse p(t) = int_0^t s dt': F = Theta (y p) / n at any
point, also at test points.
"""

import math

import numpy as np
from scipy.linalg import get_lapack_funcs

BELOW, SLIDING, ABOVE = -1, 0, 1

Kink = tuple[float, np.ndarray, np.ndarray]
"""A time, margins (n,) and impulse (n,) there."""

_SINGULAR = (
    "k_train must be positive definite between the points on the margin, got a singular "
    "matrix; a nugget makes it regular"
)

_REFRESH = 64
"""Rank-one updates after which the inverse is computed anew: they lose digits slowly."""


_factorise, _invert_factor = get_lapack_funcs(("potrf", "potri"), dtype=np.float64)


class Sliding:
    """The inverse of Q restricted to the sliding patterns, kept by rank-one updates.

    Adding or removing a pattern costs O(k^2) for k sliding ones, where a fresh
    factorisation costs O(k^3). Rows of Q and of the inverse lie in buffers with room to
    grow; a removed pattern's place is taken by the last one.

    Args:
        Q: (n, n), symmetric.
        members: patterns to begin with, at the price of one factorisation.

    Raises:
        ValueError: Q is not positive definite between the ``members``.
    """

    def __init__(self, Q: np.ndarray, members: np.ndarray | None = None) -> None:
        self.Q = Q
        members = np.empty(0, int) if members is None else members
        k = len(members)
        room = k + 64
        self._k, self._updates = k, 0
        self._index = np.empty(room, int)
        self._index[:k] = members
        self._rows = np.empty((room, len(Q)))
        self._inverse = np.empty((room, room))
        if k:
            np.take(Q, members, axis=0, out=self._rows[:k], mode="clip")
            self._invert()

    def __len__(self) -> int:
        return self._k

    @property
    def members(self) -> np.ndarray:
        """(k,) the sliding patterns; valid until the next change."""
        return self._index[: self._k]

    @property
    def rows(self) -> np.ndarray:
        """(k, n) rows of Q of the sliding patterns."""
        return self._rows[: self._k]

    def solve(self, column: np.ndarray) -> np.ndarray:
        """Q_SS^-1 times ``column`` (k,)."""
        return self._inverse[: self._k, : self._k] @ column

    def schur(self, j: int) -> float:
        """Q_jj - Q_jS Q_SS^-1 Q_Sj: how strongly j moves itself with the others held."""
        column = self.Q[j, self.members]
        return float(self.Q[j, j] - column @ self.solve(column))

    def add(self, j: int, solved: np.ndarray | None = None) -> None:
        """Let j slide too; ``solved`` is Q_SS^-1 Q_Sj if that is known already."""
        k = self._k
        if k == len(self._index):
            self._grow()
        column = self.Q[j, self.members]
        if solved is None:
            solved = self.solve(column)
        schur = float(self.Q[j, j] - column @ solved)
        inverse = self._inverse
        inverse[:k, :k] += np.multiply.outer(solved, solved / schur)
        inverse[:k, k] = inverse[k, :k] = -solved / schur
        inverse[k, k] = 1.0 / schur
        self._index[k], self._rows[k] = j, self.Q[j]
        self._k += 1
        self._count()

    def remove(self, j: int) -> None:
        at = int(np.flatnonzero(self.members == j)[0])
        last, inverse = self._k - 1, self._inverse
        if at != last:
            self._index[at], self._rows[at] = self._index[last], self._rows[last]
            for part in (inverse, inverse.T):
                part[[at, last], : last + 1] = part[[last, at], : last + 1]
        column = inverse[:last, last].copy()
        inverse[:last, :last] -= np.multiply.outer(column, column / inverse[last, last])
        self._k = last
        self._count()

    def _grow(self) -> None:
        k, room = self._k, 2 * self._k + 64
        index, rows = np.empty(room, int), np.empty((room, len(self.Q)))
        inverse = np.empty((room, room))
        index[:k], rows[:k] = self.members, self.rows
        inverse[:k, :k] = self._inverse[:k, :k]
        self._index, self._rows, self._inverse = index, rows, inverse

    def _invert(self) -> None:
        """Q_SS^-1 by Cholesky's factors."""
        k = self._k
        square = np.asfortranarray(self._rows[:k, self.members])
        factor, failed = _factorise(square, lower=1, overwrite_a=1)
        inverse, failed_too = _invert_factor(factor, lower=1, overwrite_c=1)
        if failed or failed_too:
            raise ValueError(_SINGULAR)
        # LAPACK leaves the other triangle as it was
        self._inverse[:k, :k] = np.tril(inverse) + np.tril(inverse, -1).T

    def _count(self) -> None:
        self._updates += 1
        if self._updates >= _REFRESH:
            self._updates = 0
            if self._k:
                self._invert()


class HingePath:
    """Margins under a frozen Q, advanced event by event.

    Args:
        Q: (n, n) y Theta y^T, symmetric, positive definite between patterns that slide.
        m: (n,) margins at the start.
        drift: (n,) a constant velocity added to that of the flow, none by default.
        sliding: patterns that slide on the margin already, where m is then taken as 1;
            forces that keep them there are found before the start.

    Attributes:
        m: (n,) margins y F now.
        s: (n,) forces in [0, 1].
        v: (n,) velocities of the margins.
        p: (n,) impulse, the integral of s over time since the start.
        t: time since the start.
        side: (n,) BELOW, SLIDING or ABOVE.
        events: how often a pattern has reached the margin.
        stuck: whether nothing can move any more although the loss is not zero.

    Raises:
        ValueError: Q is singular where patterns slide.
    """

    def __init__(
        self,
        Q: np.ndarray,
        m: np.ndarray,
        drift: np.ndarray | None = None,
        sliding: np.ndarray | None = None,
    ) -> None:
        self.Q, self.n, self.drift = Q, len(m), drift
        self.m = m.astype(float).copy()
        self.side = np.where(self.m < 1.0, BELOW, ABOVE)
        if sliding is not None:
            self.m[sliding], self.side[sliding] = 1.0, SLIDING
        self.s = (self.side == BELOW).astype(float)
        self.p = np.zeros(self.n)
        self.t, self.events, self.stuck = 0.0, 0, False
        self.sliding = Sliding(Q, sliding)
        self._placed = 0
        self.v = self._velocity()
        if sliding is not None and len(sliding):
            self._settle(sliding)
        # a pattern that sits on the margin at the start has to be placed like one
        # that arrives there
        for j in np.flatnonzero((self.m == 1.0) & (self.side == ABOVE)):
            if self.v[j] < 0.0:
                self._place(int(j))

    def _velocity(self) -> np.ndarray:
        v = self.Q @ self.s / self.n
        return v if self.drift is None else v + self.drift

    def _settle(self, start: np.ndarray) -> None:
        """Forces of patterns on the margin, all at once: the box programme of ``_place``
        for many patterns, by block pivoting from the guess that all of them slide.

        All that violate their condition change sides together, as long as that makes
        them fewer; otherwise one does, the last in order, which is sure to end.
        """
        sliding, Q = self.sliding, self.Q
        pulled = np.empty(0, int)  # at the upper end of the box
        base = self.v * self.n  # without the forces of ``start``
        fewest, patience = len(start) + 1, 3
        for _ in range(20 * (len(start) + 2)):
            push = base + Q[pulled].sum(0) if len(pulled) else base
            S = sliding.members
            force = -sliding.solve(push[S])
            total = push + force @ sliding.rows if len(S) else push
            held = np.ones(len(start), bool) & (self.side[start] != SLIDING)
            off = start[held]
            wrong = np.where(self.side[off] == BELOW, total[off] > 0, total[off] < 0)
            leave = S[(force < 0.0) | (force > 1.0)]
            bad = np.concatenate([leave, off[wrong]])
            if not len(bad):
                break
            if len(bad) < fewest:
                fewest, patience = len(bad), 3
            elif patience:
                patience -= 1
            else:
                bad = bad[[bad.argmax()]]
            up = set(S[force > 1.0].tolist())
            for j in bad.tolist():
                if self.side[j] == SLIDING:
                    sliding.remove(j)
                    self.side[j] = BELOW if j in up else ABOVE
                else:
                    sliding.add(j)
                    self.side[j] = SLIDING
            pulled = start[self.side[start] == BELOW]
        else:
            raise ValueError(_SINGULAR)
        self.s[pulled] = 1.0
        self.s[S] = force
        self.v = total / self.n
        self.v[S] = 0.0

    @property
    def loss(self) -> float:
        """The hinge loss, mean of max(0, 1 - m)."""
        return float(np.maximum(1.0 - self.m, 0.0).sum() / self.n)

    def time_to(self, loss: float) -> float:
        """How long until the loss falls to a value, if nothing happens before; inf if it
        does not fall, or is there already."""
        slope = float(-self.v[self.side == BELOW].sum() / self.n)
        left = self.loss - loss
        return left / -slope if slope < 0.0 < left else math.inf

    def next_event(self) -> tuple[float, int]:
        """Time until a pattern reaches the margin, and which; (inf, -1) if none will.

        Without a pattern below the margin all forces are zero, and what is left of the
        velocities is rounding.
        """
        if self.drift is None and not (self.side == BELOW).any():
            return math.inf, -1
        coming = (self.side * self.v < 0.0).nonzero()[0]
        if not len(coming):
            return math.inf, -1
        dt = np.abs((1.0 - self.m[coming]) / self.v[coming])
        first = int(dt.argmin())
        return float(dt[first]), int(coming[first])

    def advance(self, dt: float) -> float:
        """Follow the flow for a time ``dt`` or until the next event, whichever is first.

        Returns:
            the time that has passed; 0 where everything is at rest.
        """
        wait, j = self.next_event()
        step = min(dt, wait)
        if not math.isfinite(step):
            self.stuck = self.loss > 0.0
            return 0.0
        self.m += step * self.v  # zero for those that slide
        self.p += step * self.s
        self.t += step
        if wait <= dt:
            self.m[j] = 1.0
            self.events += 1
            self._place(j)
        return step

    def follow(self, until: float, kinks: list[Kink] | None = None) -> None:
        """Advance to the time ``until``, or to where everything is at rest.

        Args:
            until: measured from the start.
            kinks: gets time, margins and impulse now, at every kink and at the end;
                between them margins and impulse are straight lines.

        Raises:
            ValueError: Q is singular where patterns slide.
        """
        if kinks is not None:
            kinks.append((self.t, self.m.copy(), self.p.copy()))
        most = self.events + 1000 * (self.n + 1)
        while self.t < until:
            events = self.events
            if self.advance(until - self.t) == 0.0 and self.events == events:
                break
            if self.events > most:
                raise ValueError(_SINGULAR)
            if kinks is not None:
                kinks.append((self.t, self.m.copy(), self.p.copy()))

    # ---------------------------------------------------------------- an event

    def _place(self, j: int) -> None:
        """Find the forces on the margin after pattern j has reached it.

        Together they solve a convex quadratic programme in the box [0, 1]: a velocity of
        zero for a force inside the box, not negative at 0 (it leaves upwards), not
        positive at 1 (it falls back). Only j violates that on arrival. Its force is
        moved until its own velocity vanishes, or to the other end; the sliding ones
        follow, and one that reaches an end of the box stays there until its velocity
        wants to change sign.
        """
        Q, s, v, side, sliding = self.Q, self.s, self.v, self.side, self.sliding
        direction = 1.0 if side[j] == ABOVE else -1.0
        unit = direction / self.n
        waiting: set[int] = set()
        for _ in range(20 * (len(sliding) + 2)):
            S = sliding.members
            solved = sliding.solve(Q[j, S])  # minus ds_S per unit of ds_j
            push = Q[j] * unit  # dv per unit of |ds_j|
            if len(S):
                push -= (unit * solved) @ sliding.rows
            # how far until j is at rest, or at the end of the box
            length = float(1.0 - s[j] if direction > 0 else s[j])
            what, who = "end", j
            pushed = float(push[j])
            if pushed * direction > 0:
                at_rest = -float(v[j]) / pushed
                if at_rest < length:
                    length, what = max(at_rest, 0.0), "rest"
            if len(S):
                follow = -direction * solved
                now = s[S]
                ends = np.where(follow > 0, 1.0 - now, now)
                ends /= np.maximum(np.abs(follow), 1e-300)
                k = int(ends.argmin())
                if ends[k] < length:
                    length, what, who = max(float(ends[k]), 0.0), "leave", int(S[k])
            for k in waiting:
                toward = push[k] if s[k] == 1.0 else -push[k]
                back = abs(v[k]) / toward if toward > 0 else math.inf
                if back < length:
                    length, what, who = back, "return", k
            s[j] += direction * length
            push *= length
            v += push
            if len(S):
                follow *= length
                s[S] = now + follow
                v[S] = 0.0
            if what == "rest":
                sliding.add(j, solved)
                side[j] = SLIDING
                v[j] = 0.0
                break
            if what == "end":
                s[j] = 1.0 if direction > 0 else 0.0
                side[j] = BELOW if direction > 0 else ABOVE
                break
            if what == "leave":
                sliding.remove(who)
                s[who] = round(s[who])
                side[who] = BELOW if s[who] == 1.0 else ABOVE
                waiting.add(who)
            else:
                waiting.discard(who)
                sliding.add(who)
                side[who] = SLIDING
                v[who] = 0.0
        else:
            raise ValueError(_SINGULAR)
        self._placed += 1
        if self._placed % _REFRESH == 0:  # sums of increments lose digits slowly
            self.v = self._velocity()
            self.v[sliding.members] = 0.0
