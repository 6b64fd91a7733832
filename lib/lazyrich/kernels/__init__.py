"""Tangent kernels, empirical and infinitely wide, and what one does with a kernel."""

from lazyrich.kernels.compare import (
    alignment,
    effective_rank,
    kernel_change,
    kernel_distance,
)
from lazyrich.kernels.empirical import ntk
from lazyrich.kernels.regression import kernel_predict
from lazyrich.kernels.relu import relu_ntk, relu_ntk_correlation
from lazyrich.kernels.relu_depth import abel_constant, relu_ntk_any_depth
from lazyrich.kernels.two_phase import TwoPhaseKernel

__all__ = [
    "TwoPhaseKernel",
    "abel_constant",
    "alignment",
    "effective_rank",
    "kernel_change",
    "kernel_distance",
    "kernel_predict",
    "ntk",
    "relu_ntk",
    "relu_ntk_any_depth",
    "relu_ntk_correlation",
]
