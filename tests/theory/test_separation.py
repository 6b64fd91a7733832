"""Closed forms of the separation, and parameter counts."""

import numpy as np
import pytest
from torch import nn

from lazyrich.studies.finite_width import kernel_classifiers as study
from lazyrich.theory import parameter_counts as counts
from lazyrich.theory import separation as theory


def test_symbolic_statements_hold() -> None:
    assert theory.arc_cosine_is_the_integral()
    noise = theory.spiked_noise()
    assert noise == {"isotropic": True, "corrected": 1.0, "printed": 4.0}


def test_effective_dimension_has_its_limits() -> None:
    assert theory.effective_dimension(100, 5, 1.0, 95**0.5) == pytest.approx(100)
    assert theory.effective_dimension(100, 5, 1e6, 95**0.5) == pytest.approx(5)
    assert theory.effective_dimension(10**7, 5, 1.0, 5**0.5) == pytest.approx(
        20, rel=1e-5
    )


def test_hermite_tail_sums_to_what_quadrature_finds() -> None:
    g, weight = np.polynomial.hermite_e.hermegauss(200)
    weight = weight / weight.sum()
    relu = np.maximum(g, 0)
    kept = (weight @ relu) ** 2 + (weight @ (relu * g)) ** 2
    assert theory.relu_hermite_tail(1) == pytest.approx(1 - 2 * kept, abs=2e-2)
    assert theory.relu_hermite_tail(3) == theory.relu_hermite_tail(2)


def test_counts_are_those_of_real_nets() -> None:
    small = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 3))
    assert counts.perceptron(6, 5, 2, 3) == sum(p.numel() for p in small.parameters())
    pooled = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 3), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(8 * 4 * 4, 6), nn.Linear(6, 10),
    )  # fmt: skip
    expected = sum(p.numel() for p in pooled.parameters())
    assert expected == counts.convolutional(
        12, 4, 2, 10, pool=True, doubling=True, hidden=6
    )
    assert counts.convolutional(5, 4, 3, 10) is None  # nothing left of the image


def test_polynomial_through_the_printed_counts() -> None:
    assert counts.polynomial_through(study.COUNTS["MLP"], 2) == (10, 797, 2)
    assert counts.polynomial_through(study.COUNTS["CNN"], 2) == (10, 4852, 18)
    off = {**study.COUNTS["CNN"], 32: 173707}
    assert counts.polynomial_through(off, 2) is None
    assert counts.polynomial_through({1: 3, 2: 3, 3: 3}, 2) == (3, 0, 0)
    with pytest.raises(ValueError, match="more than 2 widths"):
        counts.polynomial_through({1: 3, 2: 3}, 2)


def test_search_finds_the_net_and_nothing_where_there_is_none() -> None:
    found = {h: counts.perceptron(20, h, 3, 4) for h in (5, 8, 13)}

    def count(h: int, L: int, bias: bool) -> int:
        return counts.perceptron(20, h, L, 4, bias=bias)

    options = {"L": range(1, 5), "bias": (True, False)}
    assert study.search(count, found, options) == [{"L": 3, "bias": True}]
    assert study.search(count, {5: 1, 8: 2}, options) == []
