"""A small overlay and a folder of records to judge claims by."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lazyrich.claims import Check, _yaml, check, ledger

OVERLAY = """
geiger-eq9-kernel-exponent-L5:
  chapter: alpha_sweep
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
geiger-eq1-ntk-definition:
  chapter: model_and_flow
  cell: kernel-three-ways
  function: lazyrich.kernels.ntk
  criteria:
    any:
      error: {below: 1e-9, because: rounding of a sum over 1e5 terms}
geiger-sec5-kernel-exponent-lazy:
  chapter: alpha_sweep
  function: lazyrich.kernels.kernel_distance
  criteria:
    any:
      slope_h: {between: [-1.1, -0.85], because: drift below h = 500}
  erratum:
    derivation: The first-order response is odd in the readout.
    evidence: The slope in h excludes one half.
"""


@pytest.fixture
def parse() -> Callable[[str], Mapping[str, Check]]:
    """Reads the text of an overlay of geiger2020."""
    name = "geiger2020.yaml"
    return lambda text: check.parse(name, _yaml.parse(name, text), ledger())


@pytest.fixture
def overlay(parse: Callable[[str], Mapping[str, Check]]) -> Mapping[str, Check]:
    return parse(OVERLAY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "records"
