"""Low and high frequencies of images."""

import pytest
import torch

from lazyrich import data


def test_low_frequencies_are_an_orthogonal_projection() -> None:
    x = torch.randn(
        5, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    low = data.low_frequency(x, 3)
    torch.testing.assert_close(data.low_frequency(low, 3), low)
    assert float((low * (x - low)).sum(1).abs().max()) < 1e-12
    torch.testing.assert_close(data.low_frequency(x, 8), x)
    constant = torch.full((1, 64), 0.7, dtype=torch.float64)
    torch.testing.assert_close(data.low_frequency(constant, 1), constant)
    # White noise: 9 of 64 directions.
    many = data.gaussian(4000, 64, 1)
    assert data.low_frequency_energy(many, 3) == pytest.approx(9 / 64, rel=0.05)


def test_noise_spares_the_low_frequencies_and_has_its_size() -> None:
    x = 3 * data.gaussian(3000, 64, 0)
    noise = data.high_frequency_noise(x, 4, 0.5, seed=1)
    assert float(data.low_frequency(noise, 4).abs().max()) < 1e-12
    size = float(noise.square().mean().sqrt())
    assert size == pytest.approx(3 * 0.5 * (48 / 64) ** 0.5, rel=0.02)
    torch.testing.assert_close(data.high_frequency_noise(x, 4, 1.0, seed=1), 2 * noise)
    assert float(data.high_frequency_noise(x, 4, 0.0).abs().max()) == 0


@pytest.mark.parametrize(
    ("shape", "cut", "words"),
    [((2, 60), 3, "square images"), ((2, 64), 9, "at most 8"), ((2, 64), 0, "cut")],
)
def test_bad_images_and_cuts_are_named(
    shape: tuple[int, int], cut: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        data.low_frequency(torch.ones(shape, dtype=torch.float64), cut)
