"""Angles on spheres against integrals, known cases and each other."""

import math

import numpy as np
import pytest

from lazyrich.theory import sphere_angles as theory


@pytest.mark.parametrize(("d", "angle"), [(2, 0.1), (3, 0.2), (10, 0.5), (784, 1.2)])
def test_cap_is_the_integral_of_the_density(d, angle):
    exact = float(theory.cap_by_integral(angle, d))
    assert float(theory.cap(angle, d)) == pytest.approx(exact, rel=1e-12)


def test_cap_in_two_and_three_dimensions():
    assert float(theory.cap(0.3, 2)) == pytest.approx(0.3 / math.pi)
    assert float(theory.cap(0.3, 3)) == pytest.approx((1 - math.cos(0.3)) / 2)
    assert float(theory.cap(math.pi / 2, 7)) == pytest.approx(0.5)


def test_bounds_are_ordered_and_tight_for_small_angles():
    e = np.geomspace(1e-4, 1.4, 30)
    for d in (2, 5, 30):
        union = theory.union_bound(50, e, d)
        power = theory.power_bound(50, e, d)
        assert (union <= power * (1 + 1e-12)).all()
        assert (power <= theory.crude_bound(50, e, d) * (1 + 1e-12)).all()
        assert union[0] == pytest.approx(power[0], rel=1e-6)


def test_median_of_the_smallest_angle_is_one_half():
    angle = theory.median_smallest_angle(1000, 4)
    pairs = 1000 * 999 / 2
    miss = (1 - float(theory.cap(angle, 4))) ** pairs
    assert miss == pytest.approx(0.5, rel=1e-6)
    assert theory.median_of_extreme_law(10**6, 3) == pytest.approx(
        theory.median_smallest_angle(10**6, 3), rel=1e-4
    )
