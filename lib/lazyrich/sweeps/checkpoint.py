"""State of a long chunk, saved so that a killed run goes on where it was."""

import contextlib
import hashlib
import io
import json
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lazyrich.sweeps.files import read, write_atomically

_MAGIC = b"lazyrich checkpoint 2\n"


class Checkpoint:
    """One saved state, replaced as a whole; damaged ones are noticed and not used.

    A state is a mapping from strings to tensors, arrays, bytes, JSON values or further
    such mappings. It comes back equal: tensors as CPU tensors of their dtype, arrays as
    arrays, bytes as bytes. Nothing is pickled.

    Args:
        path: where the state is kept; ``None`` keeps nothing (every `load` is
            ``None``).
        key: of what the state belongs to, such as a chunk. It is kept with the state: one
            that was saved under another key is not resumed, wherever it lies.
    """

    def __init__(self, path: Path | None = None, key: str = "") -> None:
        self.path = path
        self.key = key
        self._saved_at = time.monotonic()

    def due(self, seconds: float = 30.0) -> bool:
        """Whether the last save (or the start) is at least `seconds` ago."""
        return time.monotonic() - self._saved_at >= seconds

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state.

        Raises:
            TypeError: a value is of a kind that cannot be saved; the message names it.
            StoreError: the file system refused; the state saved before is still there.
        """
        payload = _encode(state)
        if self.path is not None:
            head = _head(_coded(self.key), payload)
            write_atomically(self.path, _MAGIC + head + b"\n" + payload)
        self._saved_at = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The saved state; None if there is none, or it is damaged or of something else
        (with a warning).

        Raises:
            StoreError: the machine cannot read it.
        """
        if self.path is None:
            return None
        try:
            content = read(self.path)
        except FileNotFoundError:
            return None
        whole, _, rest = content.partition(_MAGIC)
        head, _, payload = rest.partition(b"\n")
        key = head[:16].decode(errors="replace")
        if not whole and head == _head(key, payload):
            if key == _coded(self.key):
                return _decode(payload)
            what = "of something else"
        else:
            what = "damaged"
        warnings.warn(
            f"checkpoint {self.path} is {what}; its chunk starts afresh",
            RuntimeWarning,
            stacklevel=2,
        )
        self.clear()
        return None

    def clear(self) -> None:
        """Forget the saved state."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


def _coded(key: str) -> str:
    """The key as a word of fixed length."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _head(key: str, payload: bytes) -> bytes:
    """A coded key, and a digest of key and state."""
    digest = hashlib.sha256(key.encode() + b" " + payload).hexdigest()
    return f"{key} {digest}".encode()


def _leaves(
    state: Mapping[str, Any], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in state.items():
        if not isinstance(name, str):
            raise TypeError(f"checkpoint names must be strings, got {name!r}")
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value


def _encode(state: Mapping[str, Any]) -> bytes:
    """An npz archive: one array a leaf, and an index of where each belongs."""
    arrays: dict[str, np.ndarray] = {}
    index: list[dict[str, Any]] = []
    for at, value in _leaves(state):
        entry: dict[str, Any] = {"at": at}
        array = None
        if isinstance(value, torch.Tensor):
            entry["tensor"] = str(value.dtype).removeprefix("torch.")
            plain = value.detach().cpu()
            if value.dtype == torch.bfloat16:  # NumPy has no such type: keep its bits
                plain = plain.contiguous().view(torch.int16)
            array = plain.numpy()
        elif isinstance(value, bytes | bytearray):
            entry["bytes"] = True
            array = np.frombuffer(bytes(value), dtype=np.uint8)
        elif isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
            if array.dtype.hasobject:
                raise TypeError(f"{'/'.join(at)} must not be an array of objects")
        else:
            try:
                entry["json"] = json.loads(json.dumps(value))
            except TypeError:
                raise TypeError(
                    f"{'/'.join(at)} must be a tensor, array, bytes, JSON value or "
                    f"mapping, got {type(value).__name__}"
                ) from None
        if array is not None:
            arrays[f"a{len(index)}"] = array
        index.append(entry)
    arrays["index"] = np.frombuffer(json.dumps(index).encode(), dtype=np.uint8)
    archive = io.BytesIO()
    np.savez(archive, **arrays)  # pyright: ignore[reportArgumentType]
    return archive.getvalue()


def _decode(payload: bytes) -> dict[str, Any]:
    state: dict[str, Any] = {}
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        for number, entry in enumerate(json.loads(arrays["index"].tobytes())):
            if "json" in entry:
                value = entry["json"]
            else:
                value = arrays[f"a{number}"]
                if "bytes" in entry:
                    value = value.tobytes()
                elif "tensor" in entry:
                    value = torch.from_numpy(value)
                    if entry["tensor"] == "bfloat16":
                        value = value.view(torch.bfloat16)
            inside = state
            for name in entry["at"][:-1]:
                inside = inside.setdefault(name, {})
            inside[entry["at"][-1]] = value
    return state
