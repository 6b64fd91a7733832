"""Low and high frequencies of images, by the cosine transform."""

import math

import numpy as np
import torch
from scipy import fft
from torch import Tensor

from lazyrich.core import check, rng


def low_frequency(x: Tensor, cut: int) -> Tensor:
    """Images rebuilt from the ``cut`` x ``cut`` lowest coefficients of their transform.

    Args:
        x: square images as rows of pixels, (n, side * side).
        cut: coefficients kept along each axis; ``cut = side`` gives x back.

    Returns:
        the images, (n, side * side); x less these are the high frequencies. The
        transform is orthogonal, so that both parts are orthogonal as well.

    Raises:
        ValueError: images that are not square, or a cut that is not between 1 and side.

    >>> x = data.gaussian(3, 64)  # images of 8 by 8
    >>> low = data.low_frequency(x, cut=3)
    >>> low.shape, torch.allclose(data.low_frequency(low, cut=5), low)
    (torch.Size([3, 64]), True)
    """
    x, side = _checked(x, cut)
    coefficients = np.asarray(fft.dctn(_grid(x, side), axes=(1, 2), norm="ortho"))
    coefficients[:, cut:, :] = 0
    coefficients[:, :, cut:] = 0
    images = np.asarray(fft.idctn(coefficients, axes=(1, 2), norm="ortho"))
    return check.result("x", torch.from_numpy(images).reshape(len(x), -1).to(x))


def high_frequency_noise(x: Tensor, cut: int, size: float, seed: int = 0) -> Tensor:
    """White noise without its ``cut`` x ``cut`` lowest frequencies, in the shape of x.

    Before the projection its standard deviation a pixel is ``size`` times the root mean
    square pixel of x.

    Args:
        x: square images as rows of pixels, (n, side * side).
        cut: the frequencies spared, along each axis.
        size: of the noise; zero gives none.
        seed: equal seeds give the same noise, up to its size.

    Raises:
        ValueError: images that are not square, a cut out of range, a negative size.

    >>> x = data.gaussian(3, 64)  # images of 8 by 8
    >>> noise = data.high_frequency_noise(x, cut=2, size=0.5)
    >>> bool(data.low_frequency(noise, 2).abs().max() < 1e-12)
    True
    """
    x, _ = _checked(x, cut)
    size = check.real("size", size, least=0.0)
    seed = check.positive_int("seed", seed, least=0)
    draw = rng.numpy_generator("data/high-frequency", seed).standard_normal(
        tuple(x.shape)
    )
    noise = torch.from_numpy(draw).to(x)
    scale = size * float(check.result("x", x.square().mean().sqrt()))
    return check.result("size", scale * (noise - low_frequency(noise, cut)))


def low_frequency_energy(x: Tensor, cut: int) -> float:
    """Share of the energy of the images in their ``cut`` x ``cut`` lowest frequencies.

    Take the mean image off first, which otherwise holds most of the energy.

    Raises:
        TypeError, ValueError: as ``low_frequency``; images without energy, or so large
            that it overflows.

    >>> flat = torch.ones(1, 64, dtype=torch.float64)
    >>> print(f"{data.low_frequency_energy(flat, cut=1):.6f}")
    1.000000
    """
    x, _ = _checked(x, cut)
    energy = check.result("x", x.double().square().sum())
    if not float(energy) > 0:
        raise ValueError("x must not be black: a share of no energy is undefined")
    return float(low_frequency(x, cut).square().sum() / x.square().sum())


def _checked(x: Tensor, cut: int) -> tuple[Tensor, int]:
    """The images without gradients, and their side."""
    x = check.constant("x", x, ndim=2, dtypes=check.SOLVED)
    if not x.numel():
        raise ValueError(f"x must hold at least one image, got shape {tuple(x.shape)}")
    side = math.isqrt(x.shape[1])
    if side * side != x.shape[1]:
        raise ValueError(f"x must hold square images, got {x.shape[1]} pixels")
    if check.positive_int("cut", cut) > side:
        raise ValueError(
            f"cut must be at most {side}, the side of the images, got {cut}"
        )
    return x, side


def _grid(x: Tensor, side: int) -> np.ndarray:
    return x.detach().cpu().numpy().reshape(-1, side, side)
