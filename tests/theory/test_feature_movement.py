"""The movement of hidden layers against its reference values and a small simulation."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from lazyrich.theory import feature_movement as theory

FILE = Path(__file__).parent / "reference" / "deep_relu.json"
REFERENCE = json.loads(FILE.read_text())["feature_deviation"]


def test_movements_are_those_of_many_digits():
    angles = np.array([0.0, 1.0, 2.5])
    R0 = np.cos(angles[:, None] - angles)
    cross = np.cos(np.array([0.0, 1.0, 2.5, 0.5])[:, None] - angles)
    r = theory.integrated_residual(
        theory.depth_3_kernel(R0), np.array([1.0, -1.0, 0.5]), np.zeros(3), 4.0
    )
    np.testing.assert_allclose(
        r, [float(v) for v in REFERENCE["integrated_residual_r"]], rtol=1e-12
    )
    found = theory.movement(R0, cross, r)
    for k, name in enumerate(("x_1", "x_2", "x_3", "query")):
        right = {key: float(v) for key, v in REFERENCE["values"][name].items()}
        assert math.sqrt(found.first[k]) == pytest.approx(right["H1"], rel=1e-12)
        coherent = right["coherent_part_of_H2"]
        assert math.sqrt(found.coherent[k]) == pytest.approx(coherent, rel=1e-12)
        second = right["H2_equal_widths"]
        assert math.sqrt(found.second[k]) == pytest.approx(second, rel=1e-12)


def test_many_small_steps_are_the_flow():
    K = np.array([[0.75, 0.2], [0.2, 0.75]])
    y, f0 = np.array([1.0, -0.5]), np.array([0.1, 0.3])
    flow = theory.integrated_residual(K, y, f0, 4.0)
    steps = theory.integrated_residual(K, y, f0, 4.0, 40_000)
    np.testing.assert_allclose(steps, flow, rtol=1e-4)
    np.testing.assert_allclose(
        theory.integrated_residual(K, y, f0, 200.0), np.linalg.solve(K, y - f0)
    )
