r"""Tangent kernel of infinitely wide ReLU networks of any depth.

``depth`` counts weight layers; weights and biases are standard normal and the ReLU is
unscaled:

    a_1 = W_1 x / sqrt(n0) + bias b_1
    a_{l+1} = W_{l+1} relu(a_l) / sqrt(n_l) + bias b_{l+1}

    Sigma_1 = x.x'/n0 + bias^2      Sigma_{l+1} = sqrt(q q') kappa_1(rho) / 2 + bias^2
    Theta_1 = Sigma_1               Theta_{l+1} = Theta_l kappa_0(rho) / 2 + Sigma_{l+1}

with q, q' the diagonal entries of Sigma_l, rho = Sigma_l / sqrt(q q') = cos(theta),
kappa_0 = 1 - theta/pi and kappa_1 = (sin(theta) + (pi - theta) cos(theta)) / pi.

The textbook form takes acos(rho) and loses half the digits near rho = 1, which is where
deep networks bring all pairs. Here the state is h = (1 - rho)/2 = sin^2(theta/2):

    theta = 2 asin(sqrt(h))
    h' = h - g(theta) / (2 pi),   g = sin(theta) - theta cos(theta)

and g is summed as theta^3 times a power series in theta^2, free of cancellation. After
l layers no angle exceeds that of the pair that started antipodal, so the series gets
shorter with depth. Without bias all variances halve at each layer, and Theta_l is y_l
times the geometric mean of the diagonal entries of Sigma_l, where

    y_1 = rho_0,   y_{l+1} = (1 - theta/pi) y_l + rho_l.

So without bias h_{L-1}/h_0 and y_L depend on the angle of the inputs alone, smoothly
on log(1 + theta/theta_c) with theta_c = 3 pi/L, the angle around which deep kernels
change. For matrices of many pairs they are taken layer by layer at some thousand angles
only; the pairs read them from a table, in a time that does not grow with depth.

Refs: [cho2009] for kappa_0 and kappa_1, [jacot2018] for the recursion.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.threads import one_thread
from lazyrich.kernels import piecewise

# Pairs worked on at a time: six buffers of them fit a core's cache; a GPU wants more.
_PAIRS_CPU = 128**2
# Where several threads work: larger, because they take turns at the interpreter.
_PAIRS_THREAD = 256**2
_PAIRS_CUDA = 2048**2
# From this depth on sums are compensated: rounding then no longer grows with depth.
_LONG = 1000
# A table is cheaper than the layers from depth 4 on, if there are many more pairs than
# it has entries. Shallower than this its kernel is off by up to 1e-13 at wide angles.
_TABLE_DEPTH = 8
_TABLE_PAIRS = 20_000
# Cells of the table per unit of log(1 + theta/theta_c): then the polynomials in them
# are as exact as the layers.
_CELLS = 200
# Below this value of 1 - rho, or of 1 + rho, the difference or the sum of the inputs
# gives more digits than their scalar product.
_CLOSE = 1e-2
# Halving variances reach the smallest floating-point numbers at about this depth.
_DEEPEST = 1000
_SMALLEST_BIAS = 1e-15
# Layers that are taken one by one at most, in minutes for a few pairs.
_MOST_LAYERS = 10**7


def _series() -> tuple[list[float], list[float]]:
    """Coefficients of g(theta) = theta^3 sum_k c_k theta^(2k), and how far they reach.

    The second list has, for every k, the largest theta for which the sum may end with
    c_k: the next term is below the rounding of the first.
    """
    coefficients = [
        (-1) ** k * 2 * (k + 1) / math.factorial(2 * k + 3) for k in range(18)
    ]
    reach = [
        (2.0**-53 * coefficients[0] / abs(following)) ** (0.5 / (k + 1))
        for k, following in enumerate(coefficients[1:])
    ]
    return coefficients[:-1], reach


_COEFFICIENTS, _REACH = _series()


def _degree(largest: float) -> int:
    """Where the series may end for angles up to ``largest``: with c_1 at least."""
    # A little more than the angle itself, for the rounding of the pairs' own.
    largest *= 1 + 1e-9
    return max(1, next(k for k, reach in enumerate(_REACH) if largest <= reach))


def _degrees(depth: int) -> list[int]:
    """Where the series may end, layer by layer.

    No pair has a larger angle than the one whose inputs were antipodal.
    """
    degrees = []
    h = 1.0
    for _ in range(depth - 1):
        angle = 2 * math.asin(math.sqrt(h))
        degrees.append(_degree(angle))
        total = 0.0
        for c in reversed(_COEFFICIENTS[: degrees[-1] + 1]):
            total = total * angle * angle + c
        h -= angle**3 * total / (2 * math.pi)
    return degrees


class _Angles:
    """The state h of a block of pairs, and the buffers to move it by one layer.

    After ``advance``, ``half_angle`` holds theta/2 of the layer left behind and ``h``
    the state of the new one.
    """

    def __init__(self, h: Tensor, *, compensated: bool) -> None:
        self.h = h
        self.half_angle = torch.empty_like(h)
        self._square = torch.empty_like(h)
        self._sum = torch.empty_like(h)
        self._carry = torch.zeros_like(h) if compensated else None
        # In terms of half angles, and divided by 2 pi.
        self._coefficients = [
            torch.tensor(c * 4 ** (k + 1) / math.pi, dtype=h.dtype, device=h.device)
            for k, c in enumerate(_COEFFICIENTS)
        ]

    def advance(self, degree: int) -> None:
        """One layer, with the series of g up to its coefficient of that ``degree``."""
        angle, square, total = self.half_angle, self._square, self._sum
        torch.sqrt(self.h, out=angle).asin_()
        torch.mul(angle, angle, out=square)
        last, *others = reversed(self._coefficients[: degree + 1])
        torch.addcmul(others[0], square, last, out=total)
        for coefficient in others[1:]:
            torch.addcmul(coefficient, total, square, out=total)
        square.mul_(angle)
        if self._carry is None:
            self.h.addcmul_(total, square, value=-1)
        else:
            _subtract(self.h, total.mul_(square), self._carry)


def _subtract(total: Tensor, term: Tensor, carry: Tensor) -> None:
    """``total -= term`` with Kahan's carry; ``term`` is used up."""
    term.add_(carry)
    moved = total - term
    torch.sub(moved, total, out=carry).add_(term)
    total.copy_(moved)


def _deepen(
    h: Tensor, degrees: list[int], *, compensated: bool | None = None
) -> Tensor:
    """Move ``h`` by one layer per entry of ``degrees``, in place; returns y.

    Without bias. Sums are compensated in deep networks unless told otherwise.
    """
    if compensated is None:
        compensated = len(degrees) >= _LONG
    angles = _Angles(h, compensated=compensated)
    y = 1 - 2 * h
    carry = torch.zeros_like(y) if compensated else None
    for degree in degrees:
        angles.advance(degree)
        if carry is None:
            y.addcmul_(y, angles.half_angle, value=-2 / math.pi)
            y.sub_(h, alpha=2).add_(1)
        else:
            term = angles.half_angle.mul_(y).mul_(2 / math.pi).add_(h, alpha=2)
            _subtract(y, term.sub_(1), carry)
    return y


class _Table:
    """What ``_deepen`` does for one depth, from a table.

    The table holds h_{L-1}/h_0, which like y_L is of order one for close inputs, so
    that they keep their digits.
    """

    def __init__(self, depth: int) -> None:
        self._centre = 3 * math.pi / depth
        top = math.log1p(math.pi / self._centre)
        cells = math.ceil(top * _CELLS)
        # A little less than cells/top: opposite inputs belong to the last cell.
        self._per_unit = cells / top * (1 - 1e-12)
        angle = self._centre * torch.expm1(piecewise.nodes(cells) / self._per_unit)
        start = (angle / 2).sin_().square_()
        h = start.clone()
        y = _deepen(h, _degrees(depth), compensated=True)
        self._functions = piecewise.Piecewise(h / start, y)

    def deepen(self, h: Tensor) -> Tensor:
        """Move ``h``, flat and of float64, to the last layer in place; returns y."""
        position = torch.sqrt(h).asin_().mul_(2 / self._centre)
        ratio, y = self._functions(position.log1p_().mul_(self._per_unit))
        h.mul_(ratio)
        return y


@lru_cache(maxsize=16)
def _table(depth: int) -> _Table:
    return _Table(depth)


def relu_ntk_correlation(one_minus_rho: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    r"""Correlation and normalised tangent kernel from the correlation of the inputs.

    Without bias both depend on the inputs' correlation rho_0 alone:

        rho_l = kappa_1(rho_{l-1})
        y_1 = rho_0,   y_{l+1} = kappa_0(rho_{l-1}) y_l + rho_l

    Args:
        one_minus_rho: 1 - rho_0, between 0 and 2, of any shape. Given as such, so that
            no digit of nearly equal inputs is lost.
        depth: number of weight layers.

    Returns:
        ``1 - rho`` of the last pre-activations, that is of Sigma at this depth
        (rho_{depth-1}), and the tangent kernel divided by its diagonal, y_depth/depth;
        both of the shape of ``one_minus_rho``. The second is 1 for equal inputs and
        tends to 1/4 with depth for all others.

    Raises:
        TypeError: ``one_minus_rho`` is no floating-point tensor, ``depth`` no integer.
        ValueError: an entry is outside [0, 2] or not finite, or ``depth`` is not between
            1 and 10^7 (``relu_ntk_any_depth`` takes more).

    Accuracy: float64, relative to 50-digit arithmetic: 1e-14 in both, from
        1 - rho_0 = 1e-14 on and to depth 10^6 (sums are compensated from depth 1000).
        Exceptions are nearly opposite inputs: the kernel changes sign near them at
        depths 1 and 2, and there the rounding of rho_0 alone moves it by the square
        root of a rounding.

    >>> gap = torch.tensor([0.0, 1.0], dtype=torch.float64)  # equal, orthogonal inputs
    >>> one_minus_rho, y = kernels.relu_ntk_correlation(gap, depth=2)
    >>> print(y)
    tensor([1.0000, 0.1592], dtype=torch.float64)
    """
    one_minus_rho = check.constant("one_minus_rho", one_minus_rho)
    depth = check.positive_int("depth", depth, most=_MOST_LAYERS)
    dtype = one_minus_rho.dtype
    if dtype not in check.SOLVED:
        both = relu_ntk_correlation(one_minus_rho.to(torch.float64), depth)
        return both[0].to(dtype), both[1].to(dtype)
    if bool((one_minus_rho < 0).any()) or bool((one_minus_rho > 2).any()):
        low, high = float(one_minus_rho.min()), float(one_minus_rho.max())
        raise ValueError(
            f"one_minus_rho must lie in [0, 2], got values from {low:g} to {high:g}"
        )
    h = one_minus_rho.flatten() / 2
    theta = torch.empty_like(h)
    degrees = _degrees(depth)
    size = _pairs_at_a_time(h)
    for part, out in zip(h.split(size), theta.split(size), strict=True):
        torch.div(_deepen(part, degrees), depth, out=out)
    shape = one_minus_rho.shape
    return h.mul_(2).reshape(shape), theta.reshape(shape)


def _pairs_at_a_time(like: Tensor) -> int:
    return _PAIRS_CUDA if like.is_cuda else _PAIRS_CPU


class _Inputs:
    """Inputs with their lengths and directions, and the state h of pairs of them."""

    def __init__(self, x: Tensor, lengths: Tensor) -> None:
        self.x = x
        self.lengths = lengths
        self.directions = x / lengths.where(lengths > 0, 1)[:, None]

    def half_distance(
        self,
        rows: slice,
        other: "_Inputs",
        columns: slice,
        *,
        skip_diagonal: bool = False,
    ) -> Tensor:
        """h = (1 - rho)/2 for every pair of a tile; 1/2 where an input vanishes.

        With ``skip_diagonal`` also on the tile's diagonal, whose pairs are inputs with
        themselves: close, and no question.
        """
        half = self.x.new_tensor(0.5)
        there = other.directions[columns].T
        h = torch.addmm(half, self.directions[rows], there, alpha=-0.5).clamp_(0, 1)
        if skip_diagonal:
            h.fill_diagonal_(0.5)
        # Mostly no pair is close, and one pass tells.
        least, most = torch.aminmax(h)
        if least >= _CLOSE / 2 and most <= 1 - _CLOSE / 2:
            return h
        close = ((h - 0.5).abs_() > 0.5 - _CLOSE / 2).nonzero()
        # The inputs of so many pairs are gathered at a time as fill one block.
        step = max(1, _pairs_at_a_time(h) // self.x.shape[1])
        for part in close.split(step):
            i, j = part.unbind(1)
            opposite = h[i, j] > 0.5
            a, b = self.x[rows][i], other.x[columns][j]
            b = torch.where(opposite[:, None], -b, b)
            size_a, size_b = self.lengths[rows][i], other.lengths[columns][j]
            gap = a - b
            # 2 |a||b| (1 - cos) = |a - b|^2 - (|a| - |b|)^2, and the second term by
            # (|a| - |b|)(|a| + |b|) = (a - b).(a + b), which does not cancel.
            across = (gap * (a + b)).sum(1) / (size_a + size_b)
            squared = gap.square().sum(1) - across.square()
            found = (squared / (4 * size_a * size_b)).clamp_(0, 1)
            h[i, j] = torch.where(opposite, 1 - found, found)
        return h


def _prepared(x: Tensor, x2: Tensor) -> tuple[_Inputs, _Inputs]:
    """Both input sets, scaled to unit length unless they share a length already.

    Inputs of equal length stay as they are: dividing would round away digits of the
    distance of close ones.
    """
    nx, n2 = (torch.linalg.vector_norm(v, dim=1) for v in (x, x2))
    both = torch.cat([nx, n2])
    both = both[both > 0]
    if both.numel() and float(both.max()) <= (1 + 1e-8) * float(both.min()):
        return _Inputs(x, nx), _Inputs(x2, n2)
    scaled = [v / n.where(n > 0, 1)[:, None] for v, n in ((x, nx), (x2, n2))]
    ones = [torch.linalg.vector_norm(v, dim=1) for v in scaled]
    return _Inputs(scaled[0], ones[0]), _Inputs(scaled[1], ones[1])


def _with_bias(
    h: Tensor, qx: Tensor, q2: Tensor, depth: int, bias: float, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sigma and Theta of a tile of pairs with variances ``qx`` (rows) and ``q2``."""

    def pairs(table: Tensor) -> Tensor:
        return table.flatten() if mask is None else table[mask]

    square = bias * bias
    # A bias halves what rounding has left at every layer: no need to compensate.
    angles = _Angles(h, compensated=False)
    sigma = pairs(torch.outer(qx.sqrt(), q2.sqrt())).mul_(1 - 2 * h)
    theta = sigma.clone()
    for layer in range(1, depth):
        # After one layer no correlation is negative.
        angles.advance(_degree(math.pi if layer == 1 else math.pi / 2))
        root_x, root_2 = (qx / 2).sqrt(), (q2 / 2).sqrt()
        qx, q2 = qx / 2 + square, q2 / 2 + square
        product = pairs(torch.outer(root_x, root_2))
        scale = pairs(torch.outer(qx.sqrt(), q2.sqrt()))
        apart = pairs(root_x[:, None] - root_2[None, :])
        # 1 - rho' = (p (1 - kappa_1) + A - p - bias^2) / A with p the product, A the
        # scale, and A^2 - (p + bias^2)^2 = bias^2 (difference of the roots)^2.
        extra = apart.mul_(apart).mul_(square / 2).div_(scale + product + square)
        h.mul_(product).add_(extra).div_(scale).clamp_(0, 1)
        torch.mul(scale, 1 - 2 * h, out=sigma)
        theta.addcmul_(theta, angles.half_angle, value=-2 / math.pi).div_(2).add_(sigma)
    return sigma, theta


def _unpacked(part: Tensor, mask: Tensor | None, like: Tensor) -> Tensor:
    """The tile of which ``part`` are the entries, or those of ``mask``; else zero."""
    if mask is None:
        return part.view_as(like)
    return torch.zeros_like(like).masked_scatter_(mask, part)


def _diagonals(q: Tensor, depth: int, bias: float) -> tuple[Tensor, Tensor]:
    """Diagonal entries of Sigma and Theta from those of Sigma_1."""
    if bias == 0:
        q = q * 0.5 ** (depth - 1)
        return q, q * depth
    theta = q
    for _ in range(depth - 1):
        q = q / 2 + bias * bias
        theta = theta / 2 + q
    return q, theta


def _factors(
    q: Tensor, depth: int, bias: float, normalised: bool
) -> tuple[Tensor, Tensor]:
    """By what a row of Sigma and one of Theta has still to be multiplied."""
    sigma, theta = _diagonals(q, depth, bias)
    ones = torch.ones_like(q)
    if bias > 0:
        return (sigma.rsqrt(), theta.rsqrt()) if normalised else (ones, ones)
    # Without bias the tiles hold correlations, and depth times those of gradients.
    if normalised:
        return ones, ones / math.sqrt(depth)
    return sigma.sqrt(), sigma.sqrt()


def _in_parallel(
    fill: Callable[[tuple[int, int]], None],
    corners: list[tuple[int, int]],
    threads: int,
) -> None:
    """Fill all tiles, which do not overlap, on several threads.

    Torch would share each small operation out among threads and wait for them every
    time; whole tiles need no waiting, and torch leaves the interpreter free in them.
    """
    if threads == 1:
        for corner in corners:
            fill(corner)
        return
    with (
        one_thread(),
        ThreadPoolExecutor(
            threads, initializer=torch.set_num_threads, initargs=(1,)
        ) as pool,
    ):
        list(pool.map(fill, corners))  # raises what a tile has raised


def _narrowed(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """``matrix`` in a dtype of less digits, if its entries are in the range of that."""
    return check.result("x, x2 and bias", matrix.to(dtype))


def _window(dtype: torch.dtype) -> tuple[float, float]:
    """Between which sizes of inputs their squares keep all digits."""
    info = torch.finfo(dtype)
    return math.sqrt(info.tiny / info.eps), math.sqrt(info.max) * 1e-3


def _by_size(x: Tensor) -> Tensor:
    """Inputs whose squares leave the range of their dtype, over powers of two.

    That is exact, and the correlations of inputs do not depend on their lengths. Inputs
    within the range stay as they are, all of them, so as to keep lengths that are equal.
    """
    low, high = _window(x.dtype)
    largest = x.abs().amax(1)
    if bool(((largest == 0) | ((largest >= low) & (largest <= high))).all()):
        return x
    _, exponent = torch.frexp(largest)
    # In two halves: a power of two may itself be out of range.
    half = torch.div(exponent, 2, rounding_mode="floor")
    return torch.ldexp(torch.ldexp(x, -half[:, None]), (half - exponent)[:, None])


def _check_squares(x: Tensor, second: Tensor) -> None:
    """Refuse inputs whose squares leave the range of their dtype.

    Raises:
        ValueError: largest entries out of the window.
    """
    low, high = _window(x.dtype)
    for name, points in (("x", x), ("x2", second)):
        largest = points.abs().amax(1)
        largest = largest[largest > 0]
        if bool(((largest < low) | (largest > high)).any()):
            raise ValueError(
                f"{name} must hold inputs whose squares are in the range of {x.dtype}: "
                f"with largest entries between {low:.1g} and {high:.1g}, got "
                f"{float(largest.min()):.1g} to {float(largest.max()):.1g}; scale them, or "
                "take normalised=True without bias"
            )


def relu_ntk(
    x: Tensor,
    x2: Tensor | None = None,
    *,
    depth: int,
    bias: float = 0.0,
    normalised: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""Covariance and tangent kernel of an infinitely wide ReLU network.

    Without bias, with rho_l and y_l as in ``relu_ntk_correlation``,

        Sigma_L = |x||x'| rho_{L-1} / (n0 2^{L-1})
        Theta_L = |x||x'| y_L / (n0 2^{L-1})

    Args:
        x: inputs, (n, n0).
        x2: second set of inputs, (m, n0); ``x`` itself by default, which takes half the
            time and gives exactly symmetric matrices.
        depth: number of weight layers L, one more than hidden layers.
        bias: standard deviation of the biases.
        normalised: divide both matrices by the geometric mean of their diagonal
            entries: the correlation, and a tangent kernel of unit diagonal.

    Returns:
        ``(Sigma, Theta)``, each (n, m): the covariance of the outputs at initialisation
        and the tangent kernel. Sigma halves with each layer without bias; with it,
        Sigma tends to 2 bias^2 and Theta to 4 bias^2.

    Raises:
        TypeError: inputs that are no floating-point tensors, a depth that is no
            integer.
        ValueError: shapes, dtypes or devices that do not fit, entries that are not
            finite, a depth below 1, a bias that is negative or below 1e-15; a depth
            above 1000 without bias and not normalised (the kernels leave the range of
            floating-point numbers); a zero input where it has no direction
            (normalised, without bias); inputs so large or so small that their squares
            leave the range of their dtype (unless normalised and without bias, where
            their scale does not matter), or results that do.

    Half precision is computed in float64 and rounded. No gradient flows through: inputs
    are detached, as for all kernels.

    Time: float64 matrices without bias, on a CPU and from depth 8 on, take a table if
        they have more than 20,000 pairs: about 50 ns a pair whatever the depth, where
        layers take 6 ns each. The tables of the latest 16 depths are kept.

    Accuracy: float64, relative to the diagonal: 1e-14. Of 1 - rho, for inputs of equal
        length, 1e-13 however close they are; otherwise scaling them to one length is
        like moving each by one rounding. Exactly opposite inputs are exact too. A zero
        input has zero covariance.

    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    >>> sigma, theta = kernels.relu_ntk(x, depth=3, normalised=True)
    >>> print(theta)
    tensor([[1.0000, 0.2286],
            [0.2286, 1.0000]], dtype=torch.float64)
    """
    x = check.constant("x", x, ndim=2)
    second = x if x2 is None else check.constant("x2", x2, ndim=2, like=x)
    depth = check.positive_int("depth", depth, most=_MOST_LAYERS)
    check.flag("normalised", normalised)
    half = x.dtype not in check.SOLVED
    _, high = _window(torch.float64 if half else x.dtype)
    bias = check.real(
        "bias", bias, least=0.0, most=high / math.sqrt(max(x.shape[1], 1))
    )
    if 0 < bias < _SMALLEST_BIAS:
        raise ValueError(f"bias must be 0 or at least {_SMALLEST_BIAS:g}, got {bias!r}")
    n0 = x.shape[1]
    if n0 == 0:
        raise ValueError(f"x must have at least one column, got shape {tuple(x.shape)}")
    if second.shape[1] != n0:
        raise ValueError(
            f"x2 must have {n0} columns as x has, got shape {tuple(second.shape)}"
        )
    if bias == 0 and not normalised and depth > _DEEPEST:
        raise ValueError(
            f"depth must be at most {_DEEPEST} without bias, got {depth}: the kernels "
            "shrink like 2^-depth; use normalised=True or relu_ntk_correlation"
        )
    if half:
        # Sums of squares need more digits and more room than half precision has.
        wide = None if x2 is None else second.double()
        both = relu_ntk(x.double(), wide, depth=depth, bias=bias, normalised=normalised)
        sigma, theta = (_narrowed(part, x.dtype) for part in both)
        return sigma, theta
    if bias == 0 and normalised:
        x, second = _by_size(x), _by_size(second)
    _check_squares(x, second)
    if bias > 0:
        # In the first layer a bias acts like one more input of constant value.
        pad = torch.nn.functional.pad
        value = bias * math.sqrt(n0)
        x, second = (pad(v, (0, 1), value=value) for v in (x, second))
    qx, q2 = (v.square().sum(1) / n0 for v in (x, second))
    if normalised and not (bool((qx > 0).all()) and bool((q2 > 0).all())):
        raise ValueError("x and x2 must hold no zero input: it has no direction")
    left, right = _prepared(x, second)
    out = (x.new_empty(len(qx), len(q2)), x.new_empty(len(qx), len(q2)))
    row_factors = _factors(qx, depth, bias, normalised)
    column_factors = _factors(q2, depth, bias, normalised)
    degrees = _degrees(depth) if bias == 0 else []
    many = len(qx) * len(q2) / (2 if x2 is None else 1) >= _TABLE_PAIRS
    exact_type = x.dtype == torch.float64 and not x.is_cuda
    tabled = bias == 0 and depth >= _TABLE_DEPTH and many and exact_type
    table = _table(depth) if tabled else None
    threads = 1 if x.is_cuda else torch.get_num_threads()
    if threads > 1 and len(qx) * len(q2) >= 4 * threads * _PAIRS_THREAD:
        side = math.isqrt(_PAIRS_THREAD)
    else:
        threads, side = 1, math.isqrt(_pairs_at_a_time(x))

    def fill(corner: tuple[int, int]) -> None:
        """One tile of both matrices, and its mirror image."""
        i, j = corner
        rows, columns = slice(i, i + side), slice(j, j + side)
        twice = x2 is None and i == j
        h = left.half_distance(rows, right, columns, skip_diagonal=twice)
        # On the diagonal only the pairs above it count. Layers are not even taken
        # for the others; a table is faster than picking them out.
        mask = torch.ones_like(h, dtype=torch.bool).triu_(1) if twice else None
        if table is not None:
            scaled = table.deepen(h.view(-1)).view_as(h)
            tiles = [h.mul_(-2).add_(1), scaled]
            tiles = [tile.triu_(1) for tile in tiles] if twice else tiles
        else:
            flat = h.flatten() if mask is None else h[mask]
            if bias == 0:
                scaled = _deepen(flat, degrees)
                parts = flat.mul_(-2).add_(1), scaled
            else:
                parts = _with_bias(flat, qx[rows], q2[columns], depth, bias, mask)
            tiles = [_unpacked(part, mask, h) for part in parts]
        for k, tile in enumerate(tiles):
            if twice:
                tile += tile.T.clone()
            factors = row_factors[k][rows], column_factors[k][columns]
            tile.mul_(torch.outer(*factors))
            out[k][rows, columns] = tile
            if x2 is None and not twice:
                # Transposed in cache first: torch copies that faster.
                out[k][columns, rows] = tile.T.contiguous()

    corners = [
        (i, j)
        for i in range(0, len(qx), side)
        for j in range(i if x2 is None else 0, len(q2), side)
    ]
    _in_parallel(fill, corners, threads)
    if x2 is None:
        for matrix, diagonal in zip(out, _diagonals(qx, depth, bias), strict=True):
            matrix.diagonal().copy_(torch.ones_like(qx) if normalised else diagonal)
    return out
