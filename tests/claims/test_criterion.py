"""Criteria accept exactly the numbers they describe."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazyrich.claims import criterion

numbers = st.floats(-1e6, 1e6)
widths = st.floats(1e-6, 1e6)


def read(**content: object) -> criterion.Criterion:
    return criterion.parse("f.yaml: id: x", content | {"because": "a reason"})


@given(numbers, numbers, widths)
def test_near(value: float, target: float, width: float) -> None:
    low, high = target - width, target + width
    assert read(near=target, within=width).holds(value) == (low <= value <= high)


@given(numbers, numbers)
def test_below_and_above_exclude_each_other_and_equality(
    value: float, x: float
) -> None:
    below, above = read(below=x).holds(value), read(above=x).holds(value)
    assert below == (value < x)
    assert above == (value > x)


@given(st.floats(1e-3, 1e3), st.floats(1.01, 10), st.sampled_from([-1, 1]))
def test_factor_is_symmetric_on_a_log_scale(x: float, factor: float, sign: int) -> None:
    asked = read(near=sign * x, within_factor=factor)
    for ratio in (1.0, 0.999 * factor, 1.001 / factor):
        assert asked.holds(sign * x * ratio)
    for ratio in (1.001 * factor, 0.999 / factor, -1.0):
        assert not asked.holds(sign * x * ratio)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 0.9), st.sampled_from([-1, 1]))
def test_relative_width(x: float, width: float, sign: int) -> None:
    asked = read(near=sign * x, within_relative=width)
    assert asked.holds(sign * x * (1 + 0.99 * width))
    assert not asked.holds(sign * x * (1 + 1.01 * width))


def test_a_width_of_zero_asks_for_the_number_itself() -> None:
    asked = read(near=1, within=0)
    assert asked.holds(1.0)
    assert not asked.holds(math.nextafter(1.0, 2.0))
    assert asked.tolerance == "exactly"


def test_between_includes_its_ends() -> None:
    asked = read(between=[1, 2])
    assert [asked.holds(x) for x in (0.99, 1.0, 1.5, 2.0, 2.01)] == [
        False,
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("wanted", [True, False])
def test_booleans_are_compared_as_such(wanted: bool) -> None:
    asked = read(**{"is": wanted})
    assert asked.holds(wanted)
    assert not asked.holds(not wanted)
    with pytest.raises(TypeError, match="expected true or false, got 1.0"):
        asked.holds(1.0)
    with pytest.raises(TypeError, match="expected a number, got True"):
        read(below=3).holds(True)
    with pytest.raises(TypeError, match="no interval"):
        asked.interval()


def test_nothing_holds_for_a_number_that_is_none() -> None:
    for asked in (read(near=0, within=1), read(below=1), read(between=[0, 1])):
        assert not asked.holds(math.nan)
    assert not read(above=1).holds(math.inf)


def test_words() -> None:
    assert (
        read(near=-1.7, within=0.2).expected,
        read(near=-1.7, within=0.2).tolerance,
    ) == (
        "-1.7",
        "± 0.2",
    )
    assert read(below=1e-9).expected == "< 1e-09"
    assert read(between=[1.8, 2.1]).expected == "1.8 to 2.1"
    assert read(**{"is": True}).expected == "true"
    assert read(near=50, within_relative=0.1).tolerance == "± 10 %"
    assert read(near=50, within_factor=1.5).tolerance == "within a factor 1.5"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "give exactly one of near, below, above, between, is; got none"),
        ({"below": 1, "above": 0}, "give exactly one of"),
        ({"near": 1}, "near needs exactly one of within"),
        ({"near": 1, "within": 1, "within_factor": 2}, "near needs exactly one of"),
        ({"near": 1, "within": -1}, "within must be a number above 0"),
        ({"near": 1, "within_factor": 1}, "within_factor must be a factor above 1"),
        ({"near": 0, "within_relative": 0.1}, "has no meaning near 0"),
        ({"below": 1, "within": 1}, "within goes with near, not with below"),
        ({"below": "1"}, "below must be a number, got '1'"),
        ({"below": True}, "below must be a number"),
        ({"above": math.inf}, "above must be a finite number"),
        ({"between": [2, 1]}, "low < high"),
        ({"between": [2, 2]}, "low < high"),
        ({"between": 1}, "between must be a pair"),
        ({"is": 1}, "is must be true or false"),
        ({"roughly": 1}, "unknown key 'roughly'"),
    ],
)
def test_malformed_criteria_are_refused(content: dict, words: str) -> None:
    with pytest.raises(ValueError, match=r"f\.yaml: id: x: .*" + re.escape(words)):
        criterion.parse("f.yaml: id: x", content | {"because": "a reason"})


def test_the_reason_is_required() -> None:
    with pytest.raises(ValueError, match="because must be a non-empty text"):
        criterion.parse("f.yaml: id: x", {"below": 1})
