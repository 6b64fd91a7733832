"""Printed statements that are wrong, as far as they have been confirmed twice.

``errata.yaml`` holds what a second, independent derivation and simulation confirmed, or
what a chapter of this book proves. Statements that are right under a convention of the
paper, that may be an artefact of text extraction, or that could not be decided do not
belong here. An entry whose printed page has still to be looked at carries ``held_back``
and is not published.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lazyrich.claims import _yaml
from lazyrich.claims.claim import PAPERS, ledger

CLASSES = ("confirmed", "proved")


@dataclass(frozen=True)
class Erratum:
    """One wrong printed statement beside the right one.

    ``status`` is ``confirmed`` (by an earlier independent review) or ``proved`` (by a
    chapter alone); ``reading`` is the one under which the paper would be right,
    ``scope`` what the correction touches, ``evidence`` the review's numbers.
    """

    id: str
    claims: tuple[str, ...]
    paper: str
    version: str
    where: str
    title: str
    printed: str
    corrected: str
    status: str
    scope: str
    reading: str
    evidence: str
    held_back: str | None = None


_KEYS = {
    "id",
    "claims",
    "paper",
    "version",
    "where",
    "title",
    "printed",
    "corrected",
    "class",
    "scope",
    "reading",
    "evidence",
    "held_back",
}


def parse(name: str, content: Any) -> tuple[Erratum, ...]:
    """The errata of one file, in its order.

    Raises:
        ValueError: an entry is incomplete, names an unknown claim, claims of another
            paper, or a class that may not be published; names file, id and key.
    """
    if not isinstance(content, list):
        raise ValueError(f"{name}: must be a list of errata")
    found: dict[str, Erratum] = {}
    for position, raw in enumerate(content, start=1):
        given = raw.get("id") if isinstance(raw, dict) else None
        entry = _yaml.Entry(f"{name}: {given or f'entry {position}'}", raw, _KEYS)
        erratum_id, paper = entry.text("id"), entry.text("paper")
        if erratum_id in found:
            raise ValueError(f"{entry.place}: this id stands twice")
        if paper not in PAPERS:
            raise entry.fail("paper", f"one of {', '.join(PAPERS)}")
        if entry.text("class") not in CLASSES:
            raise entry.fail("class", f"one of {', '.join(CLASSES)}")
        claims = entry.texts("claims")
        for claim_id in claims:
            if claim_id not in ledger() or ledger()[claim_id].paper != paper:
                raise ValueError(f"{entry.place}: {paper} has no claim {claim_id!r}")
        found[erratum_id] = Erratum(
            id=erratum_id,
            claims=claims,
            paper=paper,
            version=entry.text("version"),
            where=entry.text("where"),
            title=entry.text("title"),
            printed=entry.text("printed"),
            corrected=entry.text("corrected"),
            status=entry.text("class"),
            scope=entry.text("scope"),
            reading=entry.text("reading"),
            evidence=entry.text("evidence"),
            held_back=entry.optional_text("held_back"),
        )
    return tuple(found.values())


@functools.cache
def errata() -> Sequence[Erratum]:
    """All reviewed errata, those held back included.

    Raises:
        ValueError: ``errata.yaml`` is malformed.
    """
    path = Path(__file__).parent / "errata.yaml"
    return parse(path.name, _yaml.read(path))
