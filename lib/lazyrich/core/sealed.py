"""JSON files that carry a checksum of themselves: a changed byte is noticed.

The first line after the bracket holds the SHA-256 of the file without that line.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_HEAD = b'{\n "checksum": "'
_DIGITS = 64
_TAIL = b'",'


def dumps(content: Mapping[str, Any]) -> str:
    """The text of a sealed file.

    Raises:
        ValueError: nothing to seal, or a number that is not finite.
        TypeError: something that JSON does not know.
    """
    if not content:
        raise ValueError("content must not be empty")
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    seal = f"{_HEAD.decode()}{_digest(text.encode())}{_TAIL.decode()}"
    return seal + text.removeprefix("{")


def loads(data: bytes) -> dict[str, Any]:
    """The content of a sealed file, without its checksum.

    Line ends may be those of Windows, as git may leave them.

    Raises:
        ValueError: no sealed file, or not as it was written.
    """
    text = data.replace(b"\r\n", b"\n")
    end = len(_HEAD) + _DIGITS
    if text[: len(_HEAD)] != _HEAD or text[end : end + len(_TAIL)] != _TAIL:
        raise ValueError("it carries no checksum")
    rest = b"{" + text[end + len(_TAIL) :]
    if text[len(_HEAD) : end] != _digest(rest).encode():
        raise ValueError("it is not what was written: the checksum differs")
    return json.loads(rest)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
