"""The ledger is complete, and a malformed one is refused with file, id and key."""

import re
from collections import Counter

import pytest

from lazyrich.claims import PAPERS, claim, ledger

GOOD = {
    "id": "some-id",
    "kind": "theorem",
    "where": "Eq. 1",
    "claim": "It holds.",
    "setup": "Any.",
    "number": "no number",
    "check": "Compute it.",
    "cpu_scale": "1 s",
    "gpu_scale": "not needed",
    "pitfalls": "None.\n\nREFEREE: CONFIRMED.",
}


def test_every_claim_of_the_five_papers_is_there() -> None:
    counts = Counter(entry.paper for entry in ledger().values())
    assert counts == {
        "geiger2020": 81,
        "meanfield_ntk": 67,
        "silent_alignment": 114,
        "finite_width_cnn": 76,
        "deep_relu_ntk": 73,
    }
    assert set(counts) == set(PAPERS)
    assert len(ledger()) == 411


def test_ids_are_fit_for_anchors_and_numbers_are_never_empty() -> None:
    for claim_id, entry in ledger().items():
        assert re.fullmatch(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", claim_id)
        assert entry.id == claim_id
        assert entry.value
        assert entry.pitfalls
        assert entry.statement.count("$") % 2 == 0


def test_referee_lines_are_kept_as_a_pitfall_of_their_own() -> None:
    lines = [p for entry in ledger().values() for p in entry.pitfalls]
    referees = [line for line in lines if line.startswith("REFEREE:")]
    assert len(referees) == 68
    assert not any("REFEREE:" in line[1:] for line in lines)


def test_both_forms_of_number_and_pitfalls_are_read() -> None:
    text = claim.parse("geiger2020", "f.yaml", [GOOD])["some-id"]
    assert text.number == {"ledger": "no number"}
    assert (text.value, text.quoted) == ("no number", False)
    assert text.pitfalls == ("None.", "REFEREE: CONFIRMED.")
    number = {"paper": "1.7", "cpu_tol": "0.3"}
    mapping = GOOD | {"number": number, "pitfalls": ["One.", "Two."]}
    entry = claim.parse("geiger2020", "f.yaml", [mapping])["some-id"]
    assert entry.number == number
    assert (entry.value, entry.quoted) == ("1.7", True)
    assert entry.pitfalls == ("One.", "Two.")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "opinion"}, "some-id: kind must be one of"),
        ({"where": ""}, "some-id: where must be a non-empty text"),
        ({"number": {"cpu_tol": "1"}}, "some-id: number: paper must be"),
        ({"number": {"paper": "1", "guess": "2"}}, "unknown key 'guess'"),
        ({"pitfalls": []}, "some-id: pitfalls must be"),
        ({"claims": "typo"}, "some-id: unknown key 'claims'"),
        ({"id": 3}, "id must be a non-empty text"),
    ],
)
def test_a_malformed_claim_is_refused(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        claim.parse("geiger2020", "f.yaml", [GOOD | change])


def test_an_id_cannot_stand_twice() -> None:
    with pytest.raises(ValueError, match="f.yaml: some-id: this id stands twice"):
        claim.parse("geiger2020", "f.yaml", [GOOD, GOOD])
