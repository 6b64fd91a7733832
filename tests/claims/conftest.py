"""A small overlay and a folder of records to judge claims by."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lazyrich.claims import Check, _yaml, check, ledger

ALPHA_SWEEP = """
geiger-eq9-kernel-exponent-L5:
  function: lazyrich.kernels.kernel_distance
  criteria:
    laptop:
      slope: {near: -1.7, within: 0.3, because: three seeds and two widths}
      ordered: {is: true, because: it is an ordering}
    paper:
      slope: {near: -1.7, within: 0.1, because: ten seeds and four widths}
      ordered: {is: true, because: it is an ordering}
  needs:
    paper: {what: gpu, because: some hours of a GPU}
geiger-sec5-kernel-exponent-lazy:
  function: lazyrich.kernels.kernel_distance
  criteria:
    any:
      slope_h: {between: [-1.1, -0.85], because: drift below h = 500}
  erratum:
    derivation: The first-order response is odd in the readout.
    evidence: The slope in h excludes one half.
"""
MODEL_AND_FLOW = """
geiger-eq1-ntk-definition:
  cell: kernel-three-ways
  function: lazyrich.kernels.ntk
  criteria:
    any:
      error: {below: 1e-9, because: rounding of a sum over 1e5 terms}
"""


@pytest.fixture
def parse() -> Callable[..., Mapping[str, Check]]:
    """Reads the text of the checks of a chapter."""

    def read(text: str, chapter: str = "model_and_flow") -> Mapping[str, Check]:
        name = f"{chapter}.yaml"
        return check.parse(name, _yaml.parse(name, text), ledger())

    return read


@pytest.fixture
def overlay(parse: Callable[..., Mapping[str, Check]]) -> Mapping[str, Check]:
    return {**parse(ALPHA_SWEEP, "alpha_sweep"), **parse(MODEL_AND_FLOW)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "records"
