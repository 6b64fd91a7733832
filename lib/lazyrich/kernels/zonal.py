r"""Feature models on the sphere with infinitely many examples, exactly.

Inputs are uniform on the sphere of radius sqrt(d), neurons sit at unit vectors w_i. The
function x -> phi(<w, x>) depends on one angle (it is zonal); with t = <w, x> / sqrt(d),

    phi(sqrt(d) t) = sum_k s_k sqrt(N_k) P_k(t),

where P_k is the Gegenbauer (Legendre) polynomial of dimension d with P_k(1) = 1 and N_k
the number of harmonics of degree k. By the formula of Funk and Hecke the second moments
of the features, averaged over the sphere, fall apart by degree:

    U = sum_k U_k,
    random features    U_k(w, w') = s_k^2 P_k(<w, w'>),
    tangent features   U_k(w, w') = grad_w grad_w'^T [s_k(|w|) s_k(|w'|) P_k].

The best fit in the span of the features then leaves of a harmonic of degree k, averaged
over all of them, the share

    error_k = 1 - tr(U^-1 U_k) / N_k ,

without any sample. Two consequences: sum_k N_k (1 - error_k) is the number of features,
each direction in function space costs one; and a neuron phi*(<w*, x>) with uniform w*
is fitted up to sum_k s*_k^2 error_k.

Refs: [ghorbani2021] for the model, [muller1966] for the polynomials.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, special
from torch import Tensor

from lazyrich.core import check

Function = Callable[[np.ndarray], np.ndarray]

_NODES = 400
_MOST_DEGREES = 10_000


def harmonics(d: int, degrees: int) -> np.ndarray:
    """Numbers N_k of independent spherical harmonics of degree 0 ... degrees in R^d.

    Raises:
        ValueError: d < 3, or a negative degree.
    """
    d = _dimension(d)
    degrees = _checked_degrees(degrees)
    k = np.arange(degrees + 1)
    # Products of exact integers in floating point; 1 in degree 0.
    return (2 * k + d - 2) / (d - 2) * special.binom(k + d - 3, d - 3)


def gegenbauer(t: ArrayLike, d: int, degrees: int) -> np.ndarray:
    """P_0 ... P_degrees at t, with P_k(1) = 1: shape (degrees + 1, ...).

    Orthogonal for the law of one coordinate of a uniform point on the sphere of R^d,
    with mean square 1 / N_k.

    Raises:
        TypeError, ValueError: values of t outside [-1, 1], d < 3, or a negative degree.
    """
    d = _dimension(d)
    degrees = _checked_degrees(degrees)
    points = _numbers("t", t)
    if points.size and not np.abs(points).max() <= 1 + 1e-9:
        raise ValueError(
            f"t must be cosines between -1 and 1, got {np.abs(points).max():g}"
        )
    return np.stack(list(_polynomials(points, d, degrees)))


def _polynomials(t: np.ndarray, d: int, degrees: int) -> Iterator[np.ndarray]:
    """P_0 ... P_degrees one after the other, so that two of them are in memory."""
    before, p = np.zeros_like(t), np.ones_like(t)
    for k in range(degrees + 1):
        yield p
        before, p = p, ((2 * k + d - 2) * t * p - k * before) / (k + d - 2)


def coordinate_rule(d: int, breaks: ArrayLike = ()) -> tuple[np.ndarray, np.ndarray]:
    """Quadrature for the law of t = <w, x> / |x|, x uniform on a sphere of R^d.

    Exact to rounding for functions that are smooth between the ``breaks``.

    Args:
        d: dimension, at least 3.
        breaks: values of t where the integrand has kinks or jumps.

    Returns:
        nodes t and weights that sum to one.

    Raises:
        TypeError, ValueError: a dimension that is no integer of at least 3 or for which
            the law is too narrow for the rule (above 4,200 without breaks, see
            ``_check_rule``), or breaks that are no finite numbers.
    """
    d = _dimension(d)
    at = np.atleast_1d(_numbers("breaks", breaks))
    inside = [b for b in at.ravel() if abs(b) < 1]
    edges = np.sort(np.arccos(np.concatenate(([-1.0, 1.0], inside))))
    node, weight = special.roots_legendre(_NODES)
    angle = np.concatenate(
        [
            (b + a) / 2 + (b - a) / 2 * node
            for a, b in zip(edges, edges[1:], strict=False)
        ]
    )
    weights = np.concatenate(
        [(b - a) / 2 * weight for a, b in zip(edges, edges[1:], strict=False)]
    )
    weights = weights * np.sin(angle) ** (d - 2)
    total = weights.sum()
    nodes, weights = np.cos(angle), weights / (total if total > 0 else 1.0)
    _check_rule(d, nodes, weights)
    return nodes, weights


def _check_rule(d: int, nodes: np.ndarray, weights: np.ndarray) -> None:
    """Refuse a rule that does not know the moments E t^2 = 1/d and E t^4 = 3/(d (d + 2)).

    The law of t has a width of 1/sqrt(d), and the nodes are spread evenly over the angle:
    beyond some dimension too few of them see it.

    Raises:
        ValueError: a moment is off.
    """
    square = float(weights @ nodes**2) * d - 1
    fourth = float(weights @ nodes**4) * d * (d + 2) / 3 - 1
    if not max(abs(square), abs(fourth)) < 1e-10:
        raise ValueError(
            f"d must be small enough for {_NODES} nodes an interval, got {d}: the law of "
            "one coordinate is too narrow; breaks near zero help"
        )


@dataclass(frozen=True)
class Zonal:
    r"""A neuron on the sphere of radius sqrt(d), expanded in Gegenbauer polynomials.

    Attributes:
        d: dimension of the inputs.
        s: coefficients s_0 ... s_K; sum of s^2 = E phi^2 less a tail.
        radial: coefficients of u phi'(u), which are d s_k(|w|) / d|w| at |w| = 1.
        square: E phi(u)^2.
        slope_square: E phi'(u)^2.
        radial_square: E [u phi'(u)]^2.
    """

    d: int
    s: np.ndarray
    radial: np.ndarray
    square: float
    slope_square: float
    radial_square: float

    @property
    def degrees(self) -> int:
        """Highest degree K of the expansion."""
        return len(self.s) - 1

    @property
    def multiplicity(self) -> np.ndarray:
        """N_0 ... N_K."""
        return harmonics(self.d, self.degrees)

    def tail(self, degree: int) -> float:
        """Share of E phi^2 beyond ``degree``: what a fit of that degree leaves.

        Raises:
            TypeError, ValueError: no degree of the expansion.
        """
        degree = _checked_degrees(degree, most=self.degrees, name="degree")
        return float(1 - (self.s[: degree + 1] ** 2).sum() / self.square)


def zonal_expansion(
    d: int, phi: Function, slope: Function, breaks: ArrayLike = (), degrees: int = 60
) -> Zonal:
    """Expand u -> phi(u), u = <w, x> with |w| = 1 and |x| = sqrt(d).

    Args:
        d: dimension, at least 3.
        phi, slope: the activation and its derivative, on arrays.
        breaks: values of u where phi has kinks.
        degrees: highest degree kept. Higher ones enter the moments of different neurons
            with a factor P_k(cosine), and those of one neuron exactly.

    Raises:
        ValueError: d < 3, or a negative degree.

    >>> neuron = kernels.zonal_expansion(5, np.square, lambda u: 2 * u, degrees=4)
    >>> print(np.abs(neuron.s.round(4)))  # a parabola has degrees 0 and 2
    [1.    0.    1.069 0.    0.   ]
    """
    d = _dimension(d)
    degrees = _checked_degrees(degrees)
    check.function("phi", phi)
    check.function("slope", slope)
    root = math.sqrt(d)
    t, weights = coordinate_rule(d, np.atleast_1d(_numbers("breaks", breaks)) / root)
    u = root * t
    count = harmonics(d, degrees)
    if not np.all(np.isfinite(count)):
        raise ValueError(
            f"degrees must be smaller at d = {d}, got {degrees}: the numbers of harmonics "
            "leave the range of float64"
        )
    basis = np.sqrt(count)[:, None] * gegenbauer(t, d, degrees)
    value, gate = (
        _of_nodes(name, function, u)
        for name, function in (("phi", phi), ("slope", slope))
    )

    def mean(function: np.ndarray) -> float:
        return float(weights @ function)

    return Zonal(
        d,
        basis @ (weights * value),
        basis @ (weights * u * gate),
        mean(value**2),
        mean(gate**2),
        mean((u * gate) ** 2),
    )


def _of_nodes(name: str, function: Function, u: np.ndarray) -> np.ndarray:
    value = _numbers(name, function(u))
    if value.shape != u.shape:
        raise ValueError(
            f"{name} must map arrays element by element, got shape {value.shape} "
            f"for {u.shape}"
        )
    return value


def relu_expansion(d: int, shift: float = 0.0, degrees: int = 60) -> Zonal:
    """The expansion of max(u - shift, 0).

    Without a shift the odd coefficients from degree 3 on vanish, and such harmonics
    cannot be fitted however many features there are.

    >>> neuron = kernels.relu_expansion(10)
    >>> print(neuron.s[:3].round(4))  # degrees 0, 1, 2
    [0.409  0.5    0.2732]
    """
    shift = check.real("shift", shift)
    return zonal_expansion(
        d,
        lambda u: np.maximum(u - shift, 0.0),
        lambda u: (u > shift).astype(float),
        [shift],
        degrees,
    )


@dataclass(frozen=True)
class SphereMoments:
    """Second moments of N neurons' features over the sphere, and what the fit leaves.

    Attributes:
        kind: ``"rf"`` for random features, ``"nt"`` for tangent features.
        w: unit weights (N, d).
        neuron: the expansion.
        inverse: U^-1, (N, N) or (N d, N d).
    """

    kind: str
    w: np.ndarray
    neuron: Zonal
    inverse: np.ndarray

    @property
    def n_features(self) -> int:
        """Number of features: N or N d."""
        return len(self.inverse)

    def degree_errors(self, degrees: int) -> np.ndarray:
        """Mean share of a harmonic of degree 0 ... degrees that the best fit leaves.

        Raises:
            TypeError, ValueError: a degree that is not in the expansion of the neuron.
        """
        degrees = _checked_degrees(degrees, most=self.neuron.degrees)
        parts = _parts(self.kind, self.w, self.neuron, degrees)
        fitted = np.array([(self.inverse * moment).sum() for moment in parts])
        return 1 - fitted / harmonics(self.neuron.d, degrees)

    def harmonic_error(self, degree: int, at_neurons: np.ndarray) -> float:
        """Share of one harmonic Y that the best fit by random features leaves.

        Args:
            degree: of Y.
            at_neurons: its values in the directions w_i, (N,), for E Y^2 = 1; its
                moments with the neurons are s_k / sqrt(N_k) times these.

        Raises:
            TypeError, ValueError: tangent features, no degree of the expansion, or
                another number of values.
        """
        degree = _checked_degrees(degree, most=self.neuron.degrees, name="degree")
        if self.kind != "rf":
            raise ValueError(f"kind must be 'rf' here, got {self.kind!r}")
        values = _numbers("at_neurons", at_neurons)
        if values.shape != (len(self.w),):
            raise ValueError(
                f"at_neurons must hold {len(self.w)} values, got shape {values.shape}"
            )
        v = self.neuron.s[degree] / np.sqrt(self.neuron.multiplicity[degree]) * values
        with np.errstate(over="ignore", invalid="ignore"):
            error = float(1 - v @ self.inverse @ v)
        if not math.isfinite(error):
            raise ValueError(
                "at_neurons must be of moderate size: its square overflows"
            )
        return error

    def neuron_error(self, target: Zonal, degrees: int | None = None) -> float:
        """Share of E phi*^2 that is left of a neuron ``target``, on average over its
        direction; from the degrees up to ``degrees``, beyond which nothing is fitted.

        Raises:
            TypeError, ValueError: a target of another dimension, or a degree that is not
                in both expansions.
        """
        check.instance("target", target, Zonal)
        if target.d != self.neuron.d:
            raise ValueError(
                f"target must be a neuron in dimension {self.neuron.d}, got {target.d}"
            )
        most = min(target.degrees, self.neuron.degrees)
        if degrees is None and target.degrees > most:
            raise ValueError(
                f"degrees must be given, at most {most}: target has {target.degrees}"
            )
        top = _checked_degrees(most if degrees is None else degrees, most=most)
        errors = self.degree_errors(top)
        fitted = (target.s[: top + 1] ** 2 * (1 - errors)).sum()
        return float(1 - fitted / target.square)


def sphere_moments(kind: str, w: np.ndarray, neuron: Zonal) -> SphereMoments:
    """The moments of ``"rf"`` or ``"nt"`` features at unit weights w (N, d), inverted.

    Time N^3/3 or (N d)^3/3. All degrees of the expansion enter; what is beyond them is
    kept where the two neurons are one.

    Raises:
        TypeError, ValueError: unknown kind, no ``Zonal``, weights of another shape or
            length, or moments that are singular, as those of two equal neurons are.

    >>> neuron = kernels.relu_expansion(3)
    >>> fit = kernels.sphere_moments("rf", np.eye(3), neuron)
    >>> print(fit.n_features, fit.degree_errors(1).round(3))
    3 [0.313 0.409]
    """
    check.one_of("kind", kind, ("rf", "nt"))
    check.instance("neuron", neuron, Zonal)
    w = _numbers("w", w)
    if not w.size:
        raise ValueError(f"w must hold at least one neuron, got shape {w.shape}")
    if w.ndim != 2 or w.shape[1] != neuron.d:
        raise ValueError(f"w must have shape (N, {neuron.d}), got {w.shape}")
    if not np.allclose((w**2).sum(1), 1.0):
        raise ValueError("w must hold unit vectors, as rows")
    if np.triu(w @ w.T, 1).max(initial=-1.0) > 1 - 1e-9:
        raise ValueError("w must give independent features, got two equal neurons")
    total = _total(kind, w, neuron)
    try:
        factor = linalg.cholesky(total, lower=True, overwrite_a=True)
    except linalg.LinAlgError as error:
        raise ValueError(f"w must give independent features: {error}") from None
    (potri,) = linalg.get_lapack_funcs(("potri",), (factor,))
    inverse, _ = potri(factor, lower=True, overwrite_c=True)
    below = np.tril(inverse, -1)
    return SphereMoments(kind, w, neuron, below + below.T + np.diag(np.diag(inverse)))


def _tables(
    cosines: np.ndarray, d: int, degrees: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P_k and its first two derivatives at the cosines, k = 0 ... degrees."""
    p = gegenbauer(cosines, d, degrees)
    first, second = np.zeros_like(p), np.zeros_like(p)
    # P_k' is a multiple of the polynomial of degree k - 1 in dimension d + 2.
    for table, times in ((first, 1), (second, 2)):
        if degrees >= times:
            lower = gegenbauer(cosines, d + 2 * times, degrees - times)
            for k in range(times, degrees + 1):
                table[k] = _slope_at_one(k, d, times) * lower[k - times]
    return p, first, second


def _slope_at_one(k: int, d: int, times: int) -> float:
    """The derivative of P_k at one, taken once or twice."""
    value = k * (k + d - 2) / (d - 1)
    return value if times == 1 else value * (k - 1) * (k + d - 1) / (d + 1)


def _parts(
    kind: str, w: np.ndarray, neuron: Zonal, degrees: int
) -> Iterator[np.ndarray]:
    """U_0 ... U_degrees, one after the other."""
    cosines = w @ w.T
    if kind == "rf":
        for k, p in enumerate(_polynomials(cosines, neuron.d, degrees)):
            yield neuron.s[k] ** 2 * p
        return
    p, first, second = _tables(cosines, neuron.d, degrees)
    for k in range(degrees + 1):
        a, b = neuron.radial[k], neuron.s[k]
        yield _assemble(
            w,
            cosines,
            a * a * p[k],
            a * b * first[k],
            b * b * first[k],
            b * b * second[k],
        )


def _assemble(
    w: np.ndarray, cosines: np.ndarray,
    radial: np.ndarray, mixed: np.ndarray, first: np.ndarray, second: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Blocks (d, d) of all pairs of neurons, as one matrix (N d, N d).

    With v = w' - cos w and v' = w - cos w' (the parts of each weight across the other),
    radial w w'^T + mixed (w v'^T + v w'^T) + second v v'^T + first (I - w'w'^T - w v'^T).
    In terms of w and w' every block is a combination of five matrices.
    """
    rho = cosines
    here_there = radial - 2 * rho * mixed + rho**2 * second + rho * first  # w w'^T
    there_here = second  # w' w^T
    here_here = mixed - rho * second - first  # w w^T
    there_there = mixed - rho * second - first  # w' w'^T
    n, d = w.shape
    blocks = np.zeros((n, d, n, d))
    blocks += np.einsum("ij,ia,jb->iajb", here_there, w, w)
    blocks += np.einsum("ij,ja,ib->iajb", there_here, w, w)
    blocks += np.einsum("ij,ia,ib->iajb", here_here, w, w)
    blocks += np.einsum("ij,ja,jb->iajb", there_there, w, w)
    a = np.arange(d)
    blocks[:, a, :, a] += first
    return blocks.reshape(n * d, n * d)


def _total(kind: str, w: np.ndarray, neuron: Zonal) -> np.ndarray:
    """The sum of all U_k, with the exact moments of a neuron with itself."""
    d, n = neuron.d, len(w)
    cosines = w @ w.T
    s2, a2, ab = neuron.s**2, neuron.radial**2, neuron.s * neuron.radial
    if kind == "rf":
        total = np.zeros_like(cosines)
        for k, p in enumerate(_polynomials(cosines, d, neuron.degrees)):
            total += s2[k] * p
        total[np.arange(n), np.arange(n)] = neuron.square
        return total
    p, first, second = _tables(cosines, d, neuron.degrees)
    blocks = _assemble(
        w, cosines,
        np.tensordot(a2, p, 1), np.tensordot(ab, first, 1),
        np.tensordot(s2, first, 1), np.tensordot(s2, second, 1),
    ).reshape(n, d, n, d)  # fmt: skip
    across = (d * neuron.slope_square - neuron.radial_square) / (d - 1)
    along = neuron.radial_square
    for i in range(n):
        outer = np.outer(w[i], w[i])
        blocks[i, :, i, :] = along * outer + across * (np.eye(d) - outer)
    return blocks.reshape(n * d, n * d)


def _dimension(d: int) -> int:
    return check.size("d", d, least=3)


def _checked_degrees(
    degrees: int, *, most: int = _MOST_DEGREES, name: str = "degrees"
) -> int:
    return check.positive_int(name, degrees, least=0, most=most)


def _numbers(name: str, value: ArrayLike) -> np.ndarray:
    """``value`` as an array of finite float64.

    Raises:
        TypeError, ValueError: something else than real numbers, or NaN and infinities.
    """
    plain = value.detach().cpu() if isinstance(value, Tensor) else value
    try:
        given = np.asarray(plain)
    except (TypeError, ValueError, RuntimeError):
        given = np.array(None)
    if given.size and given.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be real numbers, got {check.shown(value)}")
    found = given.astype(float)
    if not np.all(np.isfinite(found)):
        raise ValueError(f"{name} must be finite, got {check.shown(value)}")
    return found
