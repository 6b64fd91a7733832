"""YAML read strictly: repeated keys are errors, and ``1e-9`` is a number."""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

# The loader in C reads the checks in a tenth of the time, where it is there.
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Strict(_Safe):
    """Safe loader that refuses repeated keys (YAML keeps the last one in silence)."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


# YAML 1.1 reads 1e-9 as a word, as it lacks a point: a tolerance would be a string.
_Strict.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parse(name: str, text: str) -> Any:
    """The content of YAML text; ``name`` says in errors where it comes from.

    Raises:
        ValueError: not readable as YAML, or a key stands twice; names file and line.
    """
    try:
        return yaml.load(text, Loader=_Strict)
    except yaml.YAMLError as error:
        raise ValueError(f"{name}: {error}") from error


def read(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        ValueError: not readable as YAML, or a key stands twice; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name}: {error}") from error
    return parse(path.name, text)


class Entry:
    """One mapping of a YAML file, read key by key, that names itself in every error."""

    def __init__(self, place: str, content: Any, allowed: set[str]) -> None:
        self.place = place
        if not isinstance(content, Mapping):
            raise ValueError(f"{place}: must be a mapping, got {content!r}")
        for key in content:
            if key not in allowed:
                words = ", ".join(sorted(allowed))
                raise ValueError(f"{place}: unknown key {key!r}; allowed: {words}")
        self.content = content

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def fail(self, key: str, wanted: str) -> ValueError:
        """The error that says what ``key`` should have been."""
        given = self.content.get(key)
        return ValueError(f"{self.place}: {key} must be {wanted}, got {given!r}")

    def text(self, key: str) -> str:
        """The non-empty text under ``key``."""
        value = self.content.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.fail(key, "a non-empty text")
        return value.strip()

    def optional_text(self, key: str) -> str | None:
        """The non-empty text under ``key``, ``None`` where the key is absent."""
        return self.text(key) if key in self.content else None

    def texts(self, key: str) -> tuple[str, ...]:
        """The non-empty list of texts under ``key``."""
        value = self.content.get(key)
        if (
            not isinstance(value, list)
            or not value
            or not all(isinstance(text, str) and text.strip() for text in value)
        ):
            raise self.fail(key, "a non-empty list of texts")
        return tuple(v.strip() for v in value)

    def mapping(self, key: str) -> dict[str, Any]:
        """The mapping under ``key``, empty where the key is absent."""
        value = self.content.get(key, {})
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            raise self.fail(key, "a mapping with words as keys")
        return value
