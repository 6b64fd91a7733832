"""Bad arguments are refused by name; generators depend on name and key alone."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lazyrich.core import check, rng


@pytest.mark.parametrize("bad", [0, -3])
def test_positive_int_refuses_small(bad):
    with pytest.raises(ValueError, match=r"n_train must be an integer >= 1, got"):
        check.positive_int("n_train", bad)


@pytest.mark.parametrize("bad", [2.0, "3", None, True])
def test_positive_int_refuses_other_types(bad):
    with pytest.raises(TypeError, match="n_train must be an integer, got"):
        check.positive_int("n_train", bad)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 0.0])
def test_real_refuses(bad):
    with pytest.raises(ValueError, match="alpha must be"):
        check.real("alpha", bad, above=0.0)


def test_real_takes_infinity_only_if_asked():
    assert check.real("t", math.inf, infinite=True) == math.inf


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (np.zeros(3), TypeError, "x must be a torch.Tensor"),
        (torch.zeros(3, dtype=torch.int64), TypeError, "floating-point dtype"),
        (torch.zeros(3, dtype=torch.float64), ValueError, "x must have 2 axes"),
        (torch.zeros(3, 4, dtype=torch.float32), ValueError, "x must have dtype"),
        (torch.full((3, 4), math.nan, dtype=torch.float64), ValueError, "12 NaN"),
    ],
)
def test_tensor_refuses(value, error, words):
    like = torch.zeros(1, dtype=torch.float64)
    with pytest.raises(error, match=words):
        check.tensor("x", value, ndim=2, like=like)


def test_unknown_device_is_named():
    with pytest.raises(ValueError, match="device must be 'auto'"):
        check.device("device", "gpu7")


@given(st.text(min_size=1, max_size=8), st.integers(0, 2**40))
def test_generators_repeat_and_differ(name, seed):
    one = torch.randn(4, generator=rng.generator(name, seed))
    again = torch.randn(4, generator=rng.generator(name, seed))
    other = torch.randn(4, generator=rng.generator(name, seed + 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    draws = rng.numpy_generator(name, seed).random(3)
    assert np.array_equal(draws, rng.numpy_generator(name, seed).random(3))


def test_key_parts_do_not_run_together():
    assert not torch.equal(
        torch.rand(3, generator=rng.generator("a", 1, 23)),
        torch.rand(3, generator=rng.generator("a", 12, 3)),
    )
    assert not torch.equal(
        torch.rand(3, generator=rng.generator("a", 1)),
        torch.rand(3, generator=rng.generator("a", "1")),
    )


def test_global_seed_is_neither_read_nor_moved():
    torch.manual_seed(5)
    before = torch.rand(2)
    torch.manual_seed(5)
    rng.generator("init", 0)
    assert torch.equal(torch.rand(2), before)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (np.ones(2), TypeError),
        (torch.ones(2), TypeError),
        (np.complex128(1 + 2j), TypeError),
        (1j, TypeError),
        (np.bool_(True), TypeError),
        (10**400, ValueError),
    ],
)
def test_real_names_what_is_no_single_real_number(bad, error):
    with pytest.raises(error, match="^ridge must be"):
        check.real("ridge", bad)


@pytest.mark.parametrize(
    "bad", [np.ones(2, int), torch.tensor(3.0), torch.tensor(True), [1]]
)
def test_positive_int_names_what_is_no_integer(bad):
    with pytest.raises(TypeError, match="^depth must be an integer"):
        check.positive_int("depth", bad)


def test_a_size_is_an_axis_that_torch_can_have():
    assert check.size("n", 2**31 - 1) == 2**31 - 1
    with pytest.raises(ValueError, match="n must be an integer of at most"):
        check.size("n", 2**31)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda x: x.to_sparse(), TypeError, "dense"),
        (lambda x: x.to("meta"), ValueError, "meta"),
        (lambda x: x.to(torch.complex128), TypeError, "floating-point"),
        (lambda x: x.to(torch.float8_e4m3fn), TypeError, "floating-point"),
    ],
)
def test_tensors_without_plain_numbers_are_refused(change, error, words):
    with pytest.raises(error, match=rf"x must .*{words}"):
        check.tensor("x", change(torch.ones(2, 2)))


def test_a_constant_has_no_graph_and_shares_its_numbers():
    x = torch.ones(3, requires_grad=True)
    found = check.constant("x", x)
    assert not found.requires_grad
    assert x.requires_grad
    assert found.data_ptr() == x.data_ptr()


def _gram(n=5, dtype=torch.float64):
    a = torch.randn(n, n, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return a @ a.mT


def test_kernels_are_symmetric_up_to_rounding_only():
    gram = _gram()
    noise = torch.randn(5, 5, generator=torch.Generator().manual_seed(2)).double()
    near = gram * (1 + 1e-9 * noise)
    assert torch.equal(check.kernel("K", near), near)
    for bad in (torch.triu(gram), gram + 1e-3 * noise):
        with pytest.raises(ValueError, match="K must be symmetric"):
            check.kernel("K", bad)


@pytest.mark.parametrize("bad", [torch.ones(2, 3), torch.ones(0, 0), torch.ones(3)])
def test_kernels_are_square_and_not_empty(bad):
    with pytest.raises(ValueError, match="K must have"):
        check.kernel("K", bad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_eigenvalues_may_be_negative_by_rounding_only(dtype):
    low = _gram(8, dtype)[:, :3] @ _gram(8, dtype)[:3]  # of rank 3, up to rounding
    low = 0.5 * (low + low.mT)
    low = low @ low
    check.positive("K", torch.linalg.eigvalsh(low))
    with pytest.raises(ValueError, match="K must be positive semi-definite"):
        check.positive("K", torch.linalg.eigvalsh(low - 0.1 * torch.eye(8) * low.max()))


@pytest.mark.parametrize("bad", [[0.5, 0.6], [1.5, -0.5], [0.0, 0.0], [1.0, 0.0, 0.0]])
def test_probabilities_sum_to_one_and_are_not_negative(bad):
    with pytest.raises(ValueError, match="mass must"):
        check.probabilities("mass", torch.tensor(bad), 2, like=torch.ones(1))


def test_results_out_of_range_name_their_arguments():
    with pytest.raises(ValueError, match="x and y must be of moderate size"):
        check.result("x and y", torch.tensor([1.0, math.inf]))
