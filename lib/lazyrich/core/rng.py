"""Named random generators: every draw of the library has a name and a key.

The stream of ``generator("init/W1", seed)`` depends on that name and seed alone: not on
a global seed, on what was drawn before, on the batch it is part of, on the number of
threads, nor on the device (draws are made on the CPU in float64 and moved).
"""

import hashlib

import numpy as np
import torch


def _digest(name: str, key: tuple[int | str, ...]) -> bytes:
    if not isinstance(name, str) or not name:
        raise ValueError(f"name must be a non-empty string, got {name!r}")
    words = [name]
    for part in key:
        if isinstance(part, bool) or not isinstance(part, int | str | np.integer):
            raise TypeError(f"key must hold integers and strings, got {part!r}")
        words.append(f"s{part}" if isinstance(part, str) else f"i{int(part)}")
    return hashlib.blake2b("\0".join(words).encode(), digest_size=32).digest()


def generator(name: str, *key: int | str) -> torch.Generator:
    """A CPU ``torch.Generator`` seeded by a hash of ``name`` and ``key``.

    Raises:
        ValueError: ``name`` is empty.
        TypeError: ``key`` holds something else than integers and strings.
    """
    seed = int.from_bytes(_digest(name, key)[:8], "little")
    return torch.Generator().manual_seed(seed % 2**63)


def numpy_generator(name: str, *key: int | str) -> np.random.Generator:
    """A ``numpy.random.Generator`` seeded by a hash of ``name`` and ``key``.

    Raises:
        ValueError: ``name`` is empty.
        TypeError: ``key`` holds something else than integers and strings.
    """
    words = np.frombuffer(_digest(name, key), dtype=np.uint32)
    return np.random.default_rng(np.random.SeedSequence(words.tolist()))
