"""Where digits are kept, and where they are given up: thresholds in sight of a test."""

import math

import mpmath
import pytest
import torch

from lazyrich.kernels import kernel_predict, relu_ntk

F64 = torch.float64


def exact_ntk(x: list[float], x2: list[float], depth: int) -> mpmath.mpf:
    """The recursion of the deep ReLU kernel in fifty digits, from these very numbers."""
    with mpmath.workdps(50):
        a, b = ([mpmath.mpf(value) for value in point] for point in (x, x2))
        dot = mpmath.fsum(p * q for p, q in zip(a, b, strict=True)) / len(a)
        qa, qb = (mpmath.fsum(p * p for p in point) / len(a) for point in (a, b))
        theta = dot
        for _ in range(depth - 1):
            rho = dot / mpmath.sqrt(qa * qb)
            angle = mpmath.acos(rho)
            slope = (mpmath.pi - angle) / (2 * mpmath.pi)
            dot = mpmath.sqrt(qa * qb) * (
                mpmath.sin(angle) + (mpmath.pi - angle) * rho
            ) / (2 * mpmath.pi)  # fmt: skip
            qa, qb = qa / 2, qb / 2
            theta = theta * slope + dot
        return theta


@pytest.mark.parametrize("gap", [2e-6, 3e-5, 4e-4, 4e-3])
@pytest.mark.parametrize("depth", [2, 5])
def test_close_inputs_are_exact_over_the_whole_range_of_close(gap, depth) -> None:
    """An angle that is read off 1 - rho has an error of eps over the angle; read off the
    difference of the inputs it has one of eps. Between both lies a factor of a hundred."""
    angle = math.acos(1.0 - gap)
    x = torch.tensor([[1.0, 0.0], [math.cos(0.3), math.sin(0.3)]], dtype=F64)
    x2 = torch.tensor(
        [[math.cos(a), math.sin(a)] for a in (angle, 0.3 + angle)], dtype=F64
    )
    _, theta = relu_ntk(x, x2, depth=depth)
    scale = float(relu_ntk(x[:1], depth=depth)[1])
    for k in range(2):
        exact = exact_ntk(x[k].tolist(), x2[k].tolist(), depth)
        assert abs(float(theta[k, k]) - exact) < 1.5e-15 * scale


@pytest.mark.parametrize("small", [1e-9, 1e-11])
def test_a_mode_above_rounding_is_fitted_in_the_end(small) -> None:
    n = 6
    gen = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=gen, dtype=F64))
    s = torch.tensor([1.0, 0.9, 0.8, 0.7, 0.6, small], dtype=F64)
    kernel = (q * s) @ q.mT
    kernel = (kernel + kernel.mT) / 2
    y = q[:, -1]
    fitted = kernel_predict(kernel, kernel, y)
    assert float((fitted - y).norm()) < 100 * n * 2.3e-16 / small


def test_a_mode_below_rounding_is_left_alone() -> None:
    """A kernel of rank one, each input twice: what it cannot fit it does not invent."""
    v = torch.linspace(1.0, 2.0, 6, dtype=F64)
    kernel = torch.outer(v, v)
    gen = torch.Generator().manual_seed(1)
    y = torch.randn(6, generator=gen, dtype=F64)
    fitted = kernel_predict(kernel, kernel, y)
    expected = v * (v @ y) / (v @ v)
    assert torch.allclose(fitted, expected, atol=1e-12)
