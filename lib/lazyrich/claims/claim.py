"""The ledger: every claim of the five papers, with its number and how to check it."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lazyrich.claims import _yaml

KINDS = ("definition", "derivation", "theorem", "experiment", "table")


@dataclass(frozen=True)
class Paper:
    """One of the five papers, in the version that the ledger was written from."""

    key: str
    short: str
    title: str
    authors: str
    version: str


PAPERS: Mapping[str, Paper] = MappingProxyType(
    {
        paper.key: paper
        for paper in (
            Paper(
                "meanfield_ntk",
                "MDL 2022",
                "MDL Final Report (mean-field and tangent-kernel limits)",
                "Kuang, Choi, Cui",
                "course report of May 2022",
            ),
            Paper(
                "geiger2020",
                "Geiger et al.",
                "Disentangling feature and lazy learning in deep neural networks: "
                "an empirical study",
                "Geiger, Spigler, Jacot, Wyart",
                "first preprint, June 2019",
            ),
            Paper(
                "finite_width_cnn",
                "Samarin et al.",
                "On the Empirical Neural Tangent Kernel of Standard Finite-Width "
                "Convolutional Neural Network Architectures",
                "Samarin, Roth, Belius",
                "preprint, 2020",
            ),
            Paper(
                "silent_alignment",
                "Atanasov et al.",
                "Neural Networks as Kernel Learners: The Silent Alignment Effect",
                "Atanasov, Bordelon, Pehlevan",
                "first arXiv version",
            ),
            Paper(
                "deep_relu_ntk",
                "NTK width and depth",
                "Revisiting the Neural Tangent Kernel: the role of large width "
                "and depth",
                "arXiv 2511.07272",
                "second arXiv version",
            ),
        )
    }
)


@dataclass(frozen=True)
class Claim:
    """One statement of a paper.

    ``number`` is what the ledger says of it: where it separates them, the paper's own
    value (``paper``), the tolerances proposed for a full-scale (``full_tol``) and a
    small reproduction (``cpu_tol``) and an exploratory value (``pilot``); else one text
    (``ledger``) with all of these.
    """

    id: str
    paper: str
    kind: str
    where: str
    statement: str
    setup: str
    number: Mapping[str, str]
    check: str
    cpu_scale: str
    gpu_scale: str
    pitfalls: tuple[str, ...]

    @property
    def quoted(self) -> bool:
        """Whether ``value`` is the paper's own and nothing else."""
        return "paper" in self.number

    @property
    def value(self) -> str:
        """The paper's own value where the ledger separates it, else all it says."""
        return self.number["paper" if self.quoted else "ledger"]


_KEYS = {
    "id",
    "kind",
    "where",
    "claim",
    "setup",
    "number",
    "check",
    "cpu_scale",
    "gpu_scale",
    "pitfalls",
}
_NUMBER = {"paper", "full_tol", "cpu_tol", "pilot"}


def _number(entry: _yaml.Entry) -> Mapping[str, str]:
    value = entry.content.get("number")
    if isinstance(value, str):
        return MappingProxyType({"ledger": entry.text("number")})
    part = _yaml.Entry(f"{entry.place}: number", value, _NUMBER)
    part.text("paper")
    return MappingProxyType({key: part.text(key) for key in part.content})


def _pitfalls(entry: _yaml.Entry) -> tuple[str, ...]:
    value = entry.content.get("pitfalls")
    if isinstance(value, str):
        parts = re.split(r"\n\s*\n|\n(?=REFEREE:)", entry.text("pitfalls"))
        return tuple(" ".join(part.split()) for part in parts)
    return entry.texts("pitfalls")


def parse(paper: str, name: str, content: Any) -> dict[str, Claim]:
    """The claims of one ledger file, in its order.

    Raises:
        ValueError: an entry is incomplete or stands twice; names file, id and key.
    """
    if not isinstance(content, list):
        raise ValueError(f"{name}: must be a list of claims, got {type(content)}")
    claims: dict[str, Claim] = {}
    for position, raw in enumerate(content, start=1):
        found = raw.get("id") if isinstance(raw, Mapping) else None
        entry = _yaml.Entry(f"{name}: {found or f'entry {position}'}", raw, _KEYS)
        claim_id, kind = entry.text("id"), entry.text("kind")
        if kind not in KINDS:
            raise entry.fail("kind", f"one of {', '.join(KINDS)}")
        if claim_id in claims:
            raise ValueError(f"{name}: {claim_id}: this id stands twice")
        claims[claim_id] = Claim(
            id=claim_id,
            paper=paper,
            kind=kind,
            where=entry.text("where"),
            statement=entry.text("claim"),
            setup=entry.text("setup"),
            number=_number(entry),
            check=entry.text("check"),
            cpu_scale=entry.text("cpu_scale"),
            gpu_scale=entry.text("gpu_scale"),
            pitfalls=_pitfalls(entry),
        )
    return claims


@functools.cache
def ledger() -> Mapping[str, Claim]:
    """All claims by id, paper by paper, each in the order of its text.

    Raises:
        ValueError: a ledger file is malformed, or two papers share an id.
    """
    claims: dict[str, Claim] = {}
    for paper in PAPERS:
        path = Path(__file__).parent / "ledger" / f"{paper}.yaml"
        for claim_id, claim in parse(paper, path.name, _yaml.read(path)).items():
            if claim_id in claims:
                other = claims[claim_id].paper
                raise ValueError(f"{path.name}: {claim_id} stands in {other} too")
            claims[claim_id] = claim
    return MappingProxyType(claims)
