"""Choices of examples are deterministic, disjoint, nested and balanced."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazyrich.data.split import split


@given(
    per_class=st.integers(5, 12),
    classes=st.integers(1, 5),
    share=st.floats(0.05, 0.45),
    seed=st.integers(0, 1000),
    balanced=st.booleans(),
    official=st.booleans(),
)
def test_splits_are_disjoint_nested_and_repeatable(
    per_class, classes, share, seed, balanced, official
):
    labels = np.tile(np.arange(classes), 2 * per_class)
    total = len(labels)
    n_official = total // 2 if official else None
    n = max(1, int(share * total * (1 if not official else 0.9)))
    options = {"balanced": balanced, "n_official": n_official}
    train, test = split(labels, n, n, seed, **options)
    again = split(labels, n, n, seed, **options)
    assert (train == again[0]).all()
    assert (test == again[1]).all()
    assert len(set(train) | set(test)) == 2 * n
    if official:
        assert train.max() < total // 2 <= test.min()
    smaller_train, smaller_test = split(labels, max(1, n // 2), n // 3, seed, **options)
    assert (train[: len(smaller_train)] == smaller_train).all()
    assert (test[: len(smaller_test)] == smaller_test).all()
    if balanced:
        for part in (train, test):
            counts = np.bincount(labels[part], minlength=classes)
            assert counts.max() - counts.min() <= 1


def test_seeds_and_sets_are_shuffled_differently():
    labels = np.zeros(1000, int)
    first, _ = split(labels, 100, 0, 0)
    others = [split(labels, 100, 0, 1), split(labels, 100, 0, 0, name="other")]
    for other, _ in others:
        assert 0 < len(np.intersect1d(first, other)) < 40  # 10 are expected


def test_every_example_is_drawn_alike():
    labels = np.arange(20) % 2
    counts = sum(
        np.bincount(split(labels, 4, 4, seed)[part], minlength=20)
        for seed in range(500)
        for part in (0, 1)
    )
    # 500 draws of 8 out of 20: mean 200, standard deviation below 11.
    assert np.abs(counts - 200).max() < 5 * 11


def test_an_incomplete_round_favours_no_class():
    labels = np.tile(np.arange(10), 5)
    drawn = [
        labels[split(labels, 3, 3, seed)[part]]
        for seed in range(200)
        for part in (0, 1)
    ]
    counts = np.bincount(np.concatenate(drawn), minlength=10)
    # 400 draws of 3 out of 10: mean 120, standard deviation below 10.
    assert np.abs(counts - 120).max() < 5 * 10


def test_too_many_examples_are_refused():
    labels = np.array([0] * 10 + [1] * 4)
    with pytest.raises(ValueError, match=r"n_train must be at most 8 \(2 x 4"):
        split(labels, 9, 0, 0)
    with pytest.raises(ValueError, match="n_train = 6 and n_test = 4 must fit"):
        split(labels, 6, 4, 0)
    assert len(split(labels, 9, 5, 0, balanced=False)[0]) == 9


@pytest.mark.parametrize("balanced", [True, False])
def test_the_largest_sets_that_fit_are_given_and_one_more_is_refused(balanced):
    """Exactly all examples of the least class, round by round."""
    labels = np.array([0] * 6 + [1] * 6)
    train, test = split(labels, 12, 0, 0, balanced=balanced)
    assert sorted(train) == list(range(12))
    assert len(test) == 0
    train, test = split(labels, 8, 4, 0, balanced=balanced)
    assert sorted([*train, *test]) == list(range(12))
    for sizes in ((13, 0), (0, 13), (9, 4)):
        with pytest.raises(ValueError, match="must"):
            split(labels, *sizes, 0, balanced=balanced)
