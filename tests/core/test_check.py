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
