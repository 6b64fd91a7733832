"""Tangent kernels, empirical and infinitely wide, and what one does with a kernel.

Kernels are numbers: no gradient flows through them, and inputs that ask for one are
detached.

Tensors come in and tensors go out, but for the features on the sphere (``zonal_expansion``
and what it leads to): they rest on SciPy's special functions, are NumPy arrays of float64,
and no derivative flows through them. A second set of inputs is always called ``x2``.
"""

from lazyrich.kernels.compare import (
    alignment,
    effective_rank,
    kernel_change,
    kernel_distance,
)
from lazyrich.kernels.empirical import ntk
from lazyrich.kernels.random_features import (
    feature_kernels,
    random_features,
    tangent_features,
)
from lazyrich.kernels.regression import kernel_predict
from lazyrich.kernels.relu import relu_ntk, relu_ntk_correlation
from lazyrich.kernels.relu_depth import abel_constant, relu_ntk_any_depth
from lazyrich.kernels.trace import trace_ntk
from lazyrich.kernels.two_phase import TwoPhaseKernel
from lazyrich.kernels.zonal import (
    SphereMoments,
    Zonal,
    relu_expansion,
    sphere_moments,
    zonal_expansion,
)

__all__ = [
    "SphereMoments",
    "TwoPhaseKernel",
    "Zonal",
    "abel_constant",
    "alignment",
    "effective_rank",
    "feature_kernels",
    "kernel_change",
    "kernel_distance",
    "kernel_predict",
    "ntk",
    "random_features",
    "relu_expansion",
    "relu_ntk",
    "relu_ntk_any_depth",
    "relu_ntk_correlation",
    "sphere_moments",
    "tangent_features",
    "trace_ntk",
    "zonal_expansion",
]
