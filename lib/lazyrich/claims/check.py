"""Which chapter measures a claim, and what the measurement has to satisfy.

``checks/<chapter>.yaml`` lies over the ledger: one entry for each claim that the chapter
of this name measures, ``checks/alpha_sweep.yaml`` for instance::

    geiger-eq9-kernel-exponent-L5:
      function: lazyrich.kernels.kernel_distance
      cell: kernel-exponent                # optional anchor; default claim-<id>
      criteria:
        laptop:
          slope: {near: -1.7, within: 0.3, because: "three seeds, two widths"}
        paper:
          slope: {near: -1.7, within: 0.1, because: "ten seeds, h up to 800"}
      needs:                               # optional: code ready, nobody has run it
        paper: {what: gpu, because: "some 10 hours of a GPU"}
      deviates:                            # exactly where the measurement fails
        laptop: "why it does"
      erratum:                             # our proof of an entry of errata.yaml
        derivation: "how the corrected statement is derived in the chapter"
        evidence: "which measurement separates it from the printed one"

Criteria cover both scales, ``laptop`` and ``paper``, or are written once under ``any``
(identities, closed forms: nothing about them depends on the scale). For an erratum the
criteria describe the corrected statement.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lazyrich.claims import _yaml, criterion
from lazyrich.claims.claim import Claim, ledger
from lazyrich.claims.criterion import Criterion

SCALES = ("laptop", "paper")
NEEDS = ("gpu", "data")
Criteria = Mapping[str, Criterion]

_KEYS = {"function", "cell", "criteria", "needs", "deviates", "erratum"}
_SLUG = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*")
_ANCHOR = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_DOTTED = re.compile(r"lazyrich(?:\.[A-Za-z_]\w*){2,4}")
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")


@dataclass(frozen=True)
class Need:
    """What nobody has had at hand so far, ``gpu`` or ``data``, and why it is needed."""

    what: str
    because: str


@dataclass(frozen=True)
class Proof:
    """Our own proof of an erratum: derivation and numerical evidence."""

    derivation: str
    evidence: str


@dataclass(frozen=True)
class Check:
    """How one claim is measured and judged."""

    claim_id: str
    chapter: str
    function: str
    criteria: Mapping[str, Criteria]
    cell: str | None = None
    needs: Mapping[str, Need] = field(default_factory=dict)
    deviates: Mapping[str, str] = field(default_factory=dict)
    proof: Proof | None = None

    @property
    def anchor(self) -> str:
        """The HTML anchor of the measurement on the chapter's page."""
        return self.cell or f"claim-{self.claim_id}"

    def at(self, scale: str) -> Criteria:
        """The criteria that hold at ``scale``, by quantity."""
        return self.criteria.get(scale) or self.criteria["any"]


def _criteria(entry: _yaml.Entry) -> Mapping[str, Criteria]:
    scales = entry.mapping("criteria")
    if set(scales) not in ({"any"}, set(SCALES)):
        raise ValueError(
            f"{entry.place}: criteria must be under laptop and paper, or any alone; "
            f"got {', '.join(scales) or 'none'}"
        )
    found: dict[str, Criteria] = {}
    for scale, quantities in scales.items():
        place = f"{entry.place}: criteria: {scale}"
        if not isinstance(quantities, dict) or not quantities:
            raise ValueError(f"{place}: must name at least one quantity")
        for name in quantities:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ValueError(f"{place}: {name!r} is no name for a quantity")
            if name == "spread":
                raise ValueError(f"{place}: a quantity cannot be called 'spread'")
        found[scale] = MappingProxyType(
            {
                name: criterion.parse(f"{place}: {name}", content)
                for name, content in quantities.items()
            }
        )
    if "laptop" in found and set(found["laptop"]) != set(found["paper"]):
        raise ValueError(
            f"{entry.place}: laptop and paper must name the same quantities"
        )
    return MappingProxyType(found)


def _scales(entry: _yaml.Entry, key: str) -> dict[str, Any]:
    found = entry.mapping(key)
    if key in entry and not found or set(found) - set(SCALES):
        raise entry.fail(key, "a mapping by scale (laptop, paper)")
    return found


def _need(place: str, content: Any) -> Need:
    entry = _yaml.Entry(place, content, {"what", "because"})
    if entry.text("what") not in NEEDS:
        raise entry.fail("what", f"one of {', '.join(NEEDS)}")
    return Need(entry.text("what"), entry.text("because"))


def _match(entry: _yaml.Entry, key: str, pattern: re.Pattern[str], wanted: str) -> str:
    value = entry.text(key)
    if not pattern.fullmatch(value):
        raise entry.fail(key, wanted)
    return value


def parse(name: str, content: Any, claims: Mapping[str, Claim]) -> dict[str, Check]:
    """The checks of one file.

    Args:
        name: the file's name, ``<chapter>.yaml``.
        content: what the file holds; ``None`` (an empty file) means no checks.
        claims: the claims it may speak about.

    Raises:
        ValueError: an unknown id or key, a malformed entry, or a name that is no slug
            of a chapter; names file, id and key.
    """
    chapter = name.removesuffix(".yaml")
    if not _SLUG.fullmatch(chapter):
        raise ValueError(f"{name}: must be named by the slug of a chapter")
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{name}: must be a mapping from claim id to check")
    found: dict[str, Check] = {}
    for claim_id, raw in content.items():
        if claim_id not in claims:
            raise ValueError(f"{name}: {claim_id}: the ledger has no such id")
        entry = _yaml.Entry(f"{name}: {claim_id}", raw, _KEYS)
        deviates = _scales(entry, "deviates")
        for scale, why in deviates.items():
            if not isinstance(why, str) or not why.strip():
                raise entry.fail("deviates", f"an explanation under {scale}")
        proof = None
        if "erratum" in entry:
            part = _yaml.Entry(
                f"{entry.place}: erratum",
                entry.content["erratum"],
                {"derivation", "evidence"},
            )
            proof = Proof(part.text("derivation"), part.text("evidence"))
        found[claim_id] = Check(
            claim_id=claim_id,
            chapter=chapter,
            function=_match(
                entry, "function", _DOTTED, "a dotted path lazyrich.<package>.<name>"
            ),
            cell=_match(entry, "cell", _ANCHOR, "an HTML anchor")
            if "cell" in entry
            else None,
            criteria=_criteria(entry),
            needs=MappingProxyType(
                {
                    scale: _need(f"{entry.place}: needs: {scale}", need)
                    for scale, need in _scales(entry, "needs").items()
                }
            ),
            deviates=MappingProxyType({s: w.strip() for s, w in deviates.items()}),
            proof=proof,
        )
    return found


@functools.cache
def checks() -> Mapping[str, Check]:
    """All checks by claim id; a claim without a chapter has none.

    Raises:
        ValueError: a file is malformed or speaks about an unknown claim.
    """
    return read_folder(Path(__file__).parent / "checks")


def read_folder(folder: Path) -> Mapping[str, Check]:
    """The checks of a folder of files ``<chapter>.yaml``.

    Raises:
        ValueError: a file is malformed, speaks about a claim that is not in the ledger,
            or about one that another file has.
    """
    found: dict[str, Check] = {}
    for path in sorted(folder.glob("*.yaml")):
        for claim_id, one in parse(path.name, _yaml.read(path), ledger()).items():
            if claim_id in found:
                other = found[claim_id].chapter
                raise ValueError(f"{path.name}: {claim_id} stands in {other}.yaml too")
            found[claim_id] = one
    return MappingProxyType(found)
