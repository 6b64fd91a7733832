"""The ReLU kernel against 50-digit arithmetic, reference values and its own laws."""

import json
import math
from pathlib import Path
from typing import Any

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lazyrich.core.rng import generator
from lazyrich.kernels import relu
from lazyrich.kernels.relu import relu_ntk, relu_ntk_correlation

FILE = Path(__file__).parent / "reference" / "deep_relu_ntk.json"
REFERENCE = json.loads(FILE.read_text())
GAPS = [2.0, 1.9, 1.3, 1.0, 0.3, 1e-2, 1e-4, 1e-8, 1e-11, 1e-14]
context = mpmath.mp.clone()
context.dps = 50


def exact(one_minus_rho: float, depth: int) -> tuple[Any, Any]:
    """1 - rho_{depth-1} and the normalised kernel, by the recursion in 50 digits."""
    gap = context.mpf(one_minus_rho)
    y = 1 - gap
    for _ in range(depth - 1):
        angle = 2 * context.asin(context.sqrt(gap / 2))
        gap -= (context.sin(angle) - angle * context.cos(angle)) / context.pi
        y = (1 - angle / context.pi) * y + 1 - gap
    return gap, y / depth


def textbook(
    x: torch.Tensor, y: torch.Tensor, depth: int, bias: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The recursion as a textbook has it, in 50 digits for every pair."""
    n0 = x.shape[1]
    sigma = torch.empty(len(x), len(y), dtype=x.dtype)
    theta = torch.empty_like(sigma)
    square = context.mpf(bias) ** 2
    for i, a in enumerate(x.tolist()):
        for j, b in enumerate(y.tolist()):
            p, q, s = (
                context.fdot(u, v) / n0 + square for u, v in ((a, a), (b, b), (a, b))
            )
            t = s
            for _ in range(depth - 1):
                scale = context.sqrt(p * q)
                rho = min(max(s / scale, context.mpf(-1)), context.mpf(1))
                angle = context.acos(rho)
                kappa_0 = (context.pi - angle) / context.pi
                kappa_1 = context.sin(angle) / context.pi + rho * kappa_0
                s = scale * kappa_1 / 2 + square
                t = t * kappa_0 / 2 + s
                p, q = p / 2 + square, q / 2 + square
            sigma[i, j], theta[i, j] = float(s), float(t)
    return sigma, theta


def points(n: int, d: int, *key: int) -> torch.Tensor:
    return torch.randn(
        n, d, generator=generator("test/relu", *key), dtype=torch.float64
    )


def error(found: torch.Tensor, wanted: list[Any], floor: float = 0.0) -> float:
    """Largest relative error, with values below ``floor`` compared in its units."""
    pairs = zip(found.tolist(), wanted, strict=True)
    return max(float(abs(context.mpf(f) - w) / max(abs(w), floor)) for f, w in pairs)


@pytest.mark.parametrize("depth", [1, 2, 3, 10, 30, 300, 1000, 1001, 2000])
def test_against_fifty_digits_at_any_correlation(depth: int) -> None:
    gap, theta = relu_ntk_correlation(torch.tensor(GAPS, dtype=torch.float64), depth)
    wanted = [exact(g, depth) for g in GAPS]
    assert error(gap, [w[0] for w in wanted]) < 3e-15
    # Up to depth 2 the kernel passes through zero: there the bound is absolute.
    assert error(theta, [w[1] for w in wanted], floor=1.0 if depth < 3 else 0.0) < 1e-14


@settings(max_examples=30, deadline=None)
@given(st.floats(-14, math.log10(1.9)), st.integers(1, 40))
def test_against_fifty_digits_anywhere(log_gap: float, depth: int) -> None:
    start = 10**log_gap
    gap, theta = relu_ntk_correlation(torch.tensor([start], dtype=torch.float64), depth)
    wanted = exact(start, depth)
    assert error(gap, [wanted[0]]) < 3e-15
    assert error(theta, [wanted[1]], floor=0.1) < 1e-14


@pytest.mark.parametrize("entry", REFERENCE["bias_free"], ids=lambda e: e["rho_0"])
def test_reference_values_without_bias(entry: dict) -> None:
    start = torch.tensor([float(entry["one_minus_rho_0"])], dtype=torch.float64)
    for key, values in entry["values"].items():
        gap = relu_ntk_correlation(start, int(key) + 1)[0]
        theta = relu_ntk_correlation(start, int(key))[1]
        assert error(gap, [context.mpf(values["one_minus_rho_l"])]) < 1e-14
        wanted = context.mpf(values["bar_theta_L"])
        assert error(theta, [wanted], floor=0.3) < 1e-14


@pytest.mark.parametrize("beta", ["0.1", "1.0"])
def test_reference_values_with_bias(beta: str) -> None:
    for entry in (e for e in REFERENCE["with_bias"] if e["beta"] == beta):
        angle = math.acos(float(entry["rho_0"]))
        x = math.sqrt(2) * torch.tensor(
            [[1.0, 0.0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64
        )
        for key, values in entry["values"].items():
            sigma, theta = relu_ntk(x, depth=int(key), bias=float(beta))
            q, t = float(values["q_l"]), float(values["theta_diag_l"])
            assert sigma.diagonal().tolist() == pytest.approx([q, q], rel=1e-14)
            assert theta.diagonal().tolist() == pytest.approx([t, t], rel=1e-14)
            assert float(sigma[0, 1] / q) == pytest.approx(
                float(values["c_l"]), abs=1e-14
            )
            assert float(theta[0, 1] / t) == pytest.approx(
                float(values["bar_theta_l"]), abs=1e-14
            )


@pytest.mark.parametrize(
    "depth",
    [10**4, *(pytest.param(d, marks=pytest.mark.slow) for d in (10**5, 10**6))],
)
def test_rounding_does_not_grow_with_depth(depth: int) -> None:
    values = REFERENCE["deep_rho0_0.5"][str(depth)]
    gap, theta = relu_ntk_correlation(torch.tensor([0.5], dtype=torch.float64), depth)
    assert error(gap, [context.mpf(values["one_minus_rho_{L-1}"])]) < 1e-14
    assert error(theta, [context.mpf(values["bar_theta_L"])]) < 1e-14
    excess = context.mpf(values["bar_theta_L_minus_quarter"])
    assert error(theta - 0.25, [excess]) < 1e-10


@pytest.mark.parametrize("bias", [0.0, 0.3])
@pytest.mark.parametrize("depth", [1, 2, 6])
def test_matrices_of_any_inputs_against_fifty_digits(depth: int, bias: float) -> None:
    x, y = 3 * points(7, 4, 1), points(5, 4, 2)
    y[0] = -x[0]
    y[1] = 2 * x[1]
    y[2] = x[2] + 1e-9 * y[2]
    wanted = textbook(x, y, depth, bias)
    found = relu_ntk(x, y, depth=depth, bias=bias)
    size = torch.outer(*(v.square().sum(1).add(bias).sqrt() for v in (x, y)))
    for f, w in zip(found, wanted, strict=True):
        assert float(((f - w) / size).abs().max()) < 1e-14
    symmetric = relu_ntk(x, depth=depth, bias=bias)
    for f, w in zip(symmetric, textbook(x, x, depth, bias), strict=True):
        torch.testing.assert_close(f, w, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("depth", [8, 9, 13, 30, 100, 300, 1000, 3000])
def test_the_table_is_as_exact_as_the_layers(depth: int) -> None:
    draw = generator("test/relu-table", depth)
    h = torch.cat(
        [
            torch.logspace(-30, 0, 6001, dtype=torch.float64),
            torch.rand(6000, generator=draw, dtype=torch.float64),
            1 - torch.logspace(-17, -1, 2001, dtype=torch.float64),
            torch.tensor([0.0, 5e-324, 1.0], dtype=torch.float64),
        ]
    ).clamp_(0, 1)
    layers = h.clone()
    y_layers = relu._deepen(layers, relu._degrees(depth), compensated=True)
    y = relu._Table(depth).deepen(h)
    # Two steps of the smallest numbers there are, besides.
    torch.testing.assert_close(h, layers, rtol=1e-14, atol=1e-323)
    torch.testing.assert_close(y, y_layers, rtol=1e-14, atol=0)


@pytest.mark.parametrize("depth", [8, 30, 300])
def test_the_table_against_fifty_digits(depth: int) -> None:
    h = torch.tensor(GAPS, dtype=torch.float64) / 2
    y = relu._Table(depth).deepen(h)
    wanted = [exact(g, depth) for g in GAPS]
    assert error(2 * h, [w[0] for w in wanted]) < 1e-14
    assert error(y / depth, [w[1] for w in wanted]) < 1e-14


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_matrices_from_the_table_are_those_of_the_layers(
    normalised: bool, scaled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = points(203, 3, 10)
    x /= torch.linalg.vector_norm(x, dim=1, keepdim=True)
    x[1], x[2] = -x[0], x[0] + 1e-7 * x[2]
    if scaled:
        x *= 1 + points(203, 1, 11).abs()
        x[3] = x[3] if normalised else 0 * x[3]
    y = torch.cat([-x[:50], x[50:120]])

    def matrices() -> list[torch.Tensor]:
        return [
            *relu_ntk(x, depth=30, normalised=normalised),
            *relu_ntk(x, y, depth=30, normalised=normalised),
        ]

    found = matrices()
    for matrix in found[:2]:
        assert torch.equal(matrix, matrix.T)
    # Whatever a table would say is refused from here on.
    monkeypatch.setattr(relu, "_TABLE_PAIRS", math.inf)
    monkeypatch.setattr(relu, "_table", None)
    for matrix, wanted in zip(found, matrices(), strict=True):
        bound = 1e-14 * float(wanted.abs().max())
        torch.testing.assert_close(matrix, wanted, rtol=1e-14, atol=bound)


def test_a_table_is_used_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    build = relu._table

    def noted(depth: int) -> relu._Table:
        asked.append(depth)
        return build(depth)

    monkeypatch.setattr(relu, "_table", noted)
    x = points(210, 2, 12)
    relu_ntk(x, depth=7)
    relu_ntk(x[:150], depth=20)
    relu_ntk(x, depth=20, bias=0.1)
    relu_ntk(x.float(), depth=20)
    assert asked == []
    relu_ntk(x, depth=20)
    relu_ntk(x[:150], x, depth=8)
    assert asked == [20, 8]


def test_close_inputs_keep_their_digits() -> None:
    angles = [0.0, 1e-7, 3e-6, 1e-3, 0.1, 1.0]
    x = torch.tensor([[math.cos(a), math.sin(a)] for a in angles], dtype=torch.float64)
    norms = [context.sqrt(context.fdot(r, r)) for r in x.tolist()]
    wanted = []
    for r, norm in zip(x.tolist(), norms, strict=True):
        pairs = list(zip(x[0].tolist(), r, strict=True))
        cross = pairs[0][0] * context.mpf(pairs[1][1]) - pairs[0][1] * context.mpf(
            pairs[1][0]
        )
        sine = abs(cross) / (norms[0] * norm)
        wanted.append(1 - context.sqrt(1 - sine**2))
    pair = relu._prepared(x, x)
    h = pair[0].half_distance(slice(None), pair[1], slice(None))[0]
    assert float(h[0]) == 0.0
    assert error(2 * h[1:], wanted[1:]) < 1e-13


@pytest.mark.parametrize("d", [1, 2, 3, 10, 50])
def test_opposite_inputs_are_exact(d: int) -> None:
    x = points(40, d, d)
    for y in (-x, -2 * x):
        lengths = torch.outer(*(v.square().sum(1).sqrt() for v in (x, y)))
        for depth, wanted in ((2, 0.0), (3, 1 / math.pi)):
            theta = relu_ntk(x, y, depth=depth)[1] / lengths * d * 2 ** (depth - 1)
            error = (theta.diagonal() - wanted).abs().max()
            assert float(error) < 1e-15


@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([0.0, 0.2]))
@settings(max_examples=25, deadline=None)
def test_laws(seed: int, depth: int, bias: float) -> None:
    n, d = 2 + seed % 7, 1 + seed % 4
    x = points(n, d, seed)
    sigma, theta = relu_ntk(x, depth=depth, bias=bias)
    for matrix in (sigma, theta):
        torch.testing.assert_close(matrix, matrix.T, rtol=0, atol=0)
        lowest = torch.linalg.eigvalsh(matrix)[0]
        assert float(lowest) > -1e-13 * float(matrix.trace())
    scale = 1 + seed % 5
    if bias == 0:
        for big, small in zip(
            relu_ntk(scale * x, x, depth=depth), (sigma, theta), strict=True
        ):
            torch.testing.assert_close(big, scale * small, rtol=1e-13, atol=1e-14)
    turn, _ = torch.linalg.qr(points(d, d, seed, 1))
    for turned, plain in zip(
        relu_ntk(x @ turn, depth=depth, bias=bias), (sigma, theta), strict=True
    ):
        torch.testing.assert_close(turned, plain, rtol=0, atol=1e-7)
    order = torch.randperm(n, generator=generator("test/relu-order", seed))
    moved = relu_ntk(x[order], depth=depth, bias=bias)
    torch.testing.assert_close(moved[1], theta[order][:, order], rtol=1e-13, atol=1e-13)


def test_one_set_of_inputs_gives_what_two_equal_ones_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = points(23, 3, 3)
    whole = relu_ntk(x, x.clone(), depth=5)
    monkeypatch.setattr(relu, "_PAIRS_CPU", 16)
    tiled = relu_ntk(x, depth=5)
    for a, b in zip(whole, tiled, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-15)
    gaps = torch.linspace(0, 2, 37, dtype=torch.float64)
    parts = relu_ntk_correlation(gaps, 5)
    monkeypatch.undo()
    for a, b in zip(relu_ntk_correlation(gaps, 5), parts, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_normalised_kernels_have_unit_diagonal(bias: float) -> None:
    x, y = points(6, 3, 4), points(4, 3, 5)
    for depth in (1, 4):
        whole = torch.cat([x, y])
        plain = relu_ntk(whole, depth=depth, bias=bias)
        for k, matrix in enumerate(
            relu_ntk(x, y, depth=depth, bias=bias, normalised=True)
        ):
            root = plain[k].diagonal().sqrt()
            wanted = plain[k] / torch.outer(root, root)
            torch.testing.assert_close(matrix, wanted[:6, 6:], rtol=1e-13, atol=1e-14)
        for matrix in relu_ntk(x, depth=depth, bias=bias, normalised=True):
            assert torch.equal(matrix.diagonal(), torch.ones(6, dtype=x.dtype))
    deep = relu_ntk(x, depth=3000, bias=bias, normalised=True)[1][0, 1]
    assert float(deep) == pytest.approx(1.0 if bias else 0.25, abs=0.01)


def test_eigenvalues_on_the_circle() -> None:
    for n, by_depth in REFERENCE["circle_eigenvalues"]["eigenvalues"].items():
        angles = 2 * math.pi * torch.arange(int(n), dtype=torch.float64) / int(n)
        x = torch.stack([angles.cos(), angles.sin()], dim=1)
        for depth, wanted in by_depth.items():
            theta = relu_ntk(x, depth=int(depth), normalised=True)[1]
            found = set(torch.linalg.eigvalsh(theta).tolist())
            for value in map(float, wanted):
                assert min(abs(value - f) for f in found) < 1e-13


def test_a_zero_input_has_zero_covariance() -> None:
    x = points(3, 2, 6)
    x[1] = 0
    sigma, theta = relu_ntk(x, depth=3)
    assert not sigma[1].any()
    assert not theta[:, 1].any()
    assert torch.isfinite(theta).all()
    with_bias = relu_ntk(x, depth=3, bias=0.5)[1]
    torch.testing.assert_close(with_bias, textbook(x, x, 3, 0.5)[1])


def test_float32_keeps_its_digits() -> None:
    gaps = torch.tensor([1.0, 0.3, 1e-3], dtype=torch.float32)
    gap, theta = relu_ntk_correlation(gaps, 1000)
    wanted = [exact(float(g), 1000) for g in gaps]
    assert gap.dtype == theta.dtype == torch.float32
    assert error(gap, [w[0] for w in wanted]) < 1e-5
    assert error(theta, [w[1] for w in wanted]) < 1e-5


def test_inputs_are_left_as_they_were() -> None:
    x, gaps = points(5, 2, 7).requires_grad_(), torch.tensor([0.5], dtype=torch.float64)
    before = x.detach().clone()
    theta = relu_ntk(x, depth=4)[1]
    relu_ntk_correlation(gaps, 7)
    assert torch.equal(x.detach(), before)
    assert float(gaps) == 0.5
    assert not theta.requires_grad


def test_no_inputs_give_empty_matrices() -> None:
    x = points(3, 2, 8)
    assert relu_ntk(x[:0], depth=2)[1].shape == (0, 0)
    assert relu_ntk(x, x[:0], depth=2)[1].shape == (3, 0)
    assert relu_ntk_correlation(x[:0, 0], 3)[0].shape == (0,)


X = torch.ones(2, 3, dtype=torch.float64)
kernel: Any = relu_ntk
correlation: Any = relu_ntk_correlation


@pytest.mark.parametrize(
    ("call", "error_type", "words"),
    [
        (lambda: kernel([[1.0]], depth=2), TypeError, "x must be a torch.Tensor"),
        (lambda: kernel(X.int(), depth=2), TypeError, "x must have a floating"),
        (lambda: kernel(X[0], depth=2), ValueError, "x must have 2 axes"),
        (lambda: kernel(X / 0, depth=2), ValueError, "x must be finite"),
        (lambda: kernel(X, X.float(), depth=2), ValueError, "x2 must have dtype"),
        (lambda: kernel(X, X[:, :2], depth=2), ValueError, "x2 must have 3 columns"),
        (lambda: kernel(X[:, :0], depth=2), ValueError, "at least one column"),
        (lambda: kernel(X, depth=0), ValueError, "depth must be an integer >= 1"),
        (lambda: kernel(X, depth=2.5), TypeError, "depth must be an integer"),
        (lambda: kernel(X, depth=1001), ValueError, "use normalised=True"),
        (lambda: kernel(X, depth=2, bias=-0.1), ValueError, "bias must be"),
        (lambda: kernel(X, depth=2, bias=1e-20), ValueError, "bias must be 0 or"),
        (
            lambda: kernel(0 * X, depth=2, normalised=True),
            ValueError,
            "must hold no zero input",
        ),
        (lambda: correlation(X + 1.5, 2), ValueError, "lie in .0, 2."),
        (lambda: correlation(-X, 2), ValueError, "lie in .0, 2."),
        (lambda: correlation(X, 0), ValueError, "depth must be"),
        (lambda: correlation(1.0, 2), TypeError, "must be a torch.Tensor"),
    ],
)
def test_bad_input_is_refused(
    call: Any, error_type: type[Exception], words: str
) -> None:
    with pytest.raises(error_type, match=words):
        call()


@pytest.mark.gpu
def test_a_gpu_gives_the_same() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device here")
    x = points(300, 5, 9)
    for bias in (0.0, 0.3):
        for a, b in zip(
            relu_ntk(x, depth=30, bias=bias),
            relu_ntk(x.cuda(), depth=30, bias=bias),
            strict=True,
        ):
            torch.testing.assert_close(a, b.cpu(), rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("depth", [3, 30])
def test_threads_change_rounding_at_most(depth: int) -> None:
    x = torch.randn(
        300, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(
                (*relu_ntk(x, depth=depth), *relu_ntk(x[:800], x, depth=depth))
            )
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*results, strict=True):
        # other tiles, other order of the sums in a scalar product
        assert float((one - three).abs().max()) < 1e-14 * float(one.abs().max())


@pytest.mark.parametrize("factor", [1e-170, 1e-20, 1e20, 1e160])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalised_kernels_do_not_know_the_scale_of_inputs(factor, dtype):
    if dtype == torch.float32:
        factor = math.copysign(abs(factor) ** 0.12, factor)  # within float32 itself
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(3)).to(dtype)
    want = relu_ntk(x, depth=4, normalised=True)[1]
    got = relu_ntk(x * factor, depth=4, normalised=True)[1]
    torch.testing.assert_close(got, want, rtol=0, atol=20 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_the_rounding_of_the_exact_kernel(dtype):
    x = torch.randint(0, 256, (5, 784), generator=torch.Generator().manual_seed(4))
    exact = relu_ntk(x.to(dtype).double(), depth=4)
    for got, want in zip(relu_ntk(x.to(dtype), depth=4), exact, strict=True):
        torch.testing.assert_close(got, want.to(dtype), rtol=0, atol=0)


@pytest.mark.parametrize("factor", [1e-170, 1e160])
def test_kernels_out_of_range_are_refused_by_name(factor):
    x = factor * torch.ones(2, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="x must hold inputs whose squares"):
        relu_ntk(x, depth=2)
