"""Eigenvalues of kernels, which name the kernel where there are none to be found."""

import torch
from torch import Tensor


def modes(name: str, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues in rising order and eigenvectors of a symmetric matrix (..., n, n).

    Raises:
        ValueError: entries so large or so small that they cannot be found.
    """
    try:
        values, vectors = torch.linalg.eigh(kernel)
    except torch.linalg.LinAlgError:
        values = vectors = kernel.new_full((1,), torch.nan)
    if not bool(torch.isfinite(values).all()):
        raise ValueError(
            f"{name} must have entries of moderate size: its eigenvalues leave the range "
            f"of {kernel.dtype}"
        )
    return values, vectors
