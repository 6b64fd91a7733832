"""The errata page says what has been confirmed, about the right version; no more."""

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from lazyrich.claims import (
    Check,
    Measurement,
    Records,
    errata,
    erratum,
    pages,
    scoreboard,
)

NOTHING = Records({}, {})
WRONG = "geiger-sec5-kernel-exponent-lazy"

GOOD = {
    "id": "some-slip",
    "claims": [WRONG],
    "paper": "geiger2020",
    "version": "First preprint.",
    "where": "Sec. 5",
    "title": "A slip",
    "printed": "$a$",
    "corrected": "$b$",
    "class": "confirmed",
    "scope": "The slip.",
    "reading": "None.",
    "evidence": "1.00",
}

# Claims whose printed form is right under a convention, may be an artefact of text
# extraction, is undecided, or was corrected by the authors in a later text.
NOT_ERRATA = """
sa-eq7 sa-eq19 sa-eq1- sa-nngp-train-gram sa-teacher-and-normalisation sa-eq60
sa-thm-final sa-offspan-residual sa-lr-weighted-ntk sa-sec42-rank-c sa-eq33 sa-eq56
sa-sec42-silent-condition geiger-fig9-relu-intermediate-slope geiger-fig7b geiger-eq8
geiger-eq20 mfntk-jko mfntk-table-param-counts mfntk-spiked-d0-equals-1 mfntk-rf-degree
mfntk-sec6-final-kernel fw-table1-resnet18 thm2-exact-rate crossover-law
exact-deviation-two-hidden prop5-range monotone-in-correlation prop8 stereographic
lambda-min-not-monotone ordered-versus-critical
sa-eq12 sa-eq8 sa-eq18 sa-eq43 sa-eq11 sa-eq37 thm2-limit-quarter
"""


def text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def page(entries=None, overlay=None, records: Records = NOTHING) -> str:
    rows = scoreboard(records=records, overlay={} if overlay is None else overlay)
    return pages.errata_page(entries, rows).content


def test_only_confirmed_or_proved_entries_can_be_written_down() -> None:
    for status in ("convention", "extraction", "open", "ledger wrong"):
        with pytest.raises(ValueError, match="class must be one of confirmed, proved"):
            erratum.parse("f.yaml", [GOOD | {"class": status}])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"claims": []}, "some-slip: claims must be"),
        ({"claims": ["gone"]}, "some-slip: geiger2020 has no claim 'gone'"),
        ({"claims": ["sa-eq38-u-dynamics"]}, "geiger2020 has no claim"),
        ({"paper": "geiger2021"}, "paper must be one of"),
        ({"version": ""}, "version must be a non-empty text"),
        ({"reading": None}, "reading must be a non-empty text"),
        ({"proof": "x"}, "unknown key 'proof'"),
    ],
)
def test_malformed_entries_are_refused(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        erratum.parse("f.yaml", [GOOD | change])
    with pytest.raises(ValueError, match="this id stands twice"):
        erratum.parse("f.yaml", [GOOD, GOOD])


def test_what_was_not_confirmed_is_not_among_the_errata() -> None:
    named = {claim_id for entry in errata() for claim_id in entry.claims}
    for stem in NOT_ERRATA.split():
        hits = [c for c in named if re.match(re.escape(stem.rstrip("-")) + r"(-|$)", c)]
        assert not hits, stem


def test_what_may_be_an_extraction_artefact_is_held_back() -> None:
    held = {
        claim_id for entry in errata() if entry.held_back for claim_id in entry.claims
    }
    assert held == {"geiger-fig1d-error-collapse", "mfntk-spiked-model"}
    shown = page()
    for claim_id in held:
        assert claim_id not in shown
    assert "Radius of the noise" not in shown


def test_every_entry_names_version_reading_and_evidence() -> None:
    shown = page()
    entries = pages.published(errata())
    assert shown.count("<article") == len(entries) == 14
    for entry in entries:
        assert re.search("version|preprint", entry.version), entry.id
        assert f'id="{entry.id}"' in shown
        for claim_id in entry.claims:
            assert shown.count(f'id="{claim_id}"') == 1
    assert shown.count("<strong>Printed</strong>") == 14
    assert shown.count("<strong>Corrected</strong>") == 14


def test_prefactors_are_not_called_wrong_scalings() -> None:
    found = {entry.id: entry for entry in errata()}
    for name in ("sa-lost-factor-depth", "sa-half-loss-time-deep", "sa-phase-two-time"):
        assert re.search("prefactor|factor 2", found[name].scope)
        assert "stand" in found[name].scope


def test_the_lazy_law_is_wrong_in_the_width_only() -> None:
    entry = next(entry for entry in errata() if WRONG in entry.claims)
    assert "2019" in entry.version
    assert "journal version was not compared" in entry.version
    assert "power of $\\alpha$ is right" in entry.scope
    assert "collapse" in entry.scope
    assert "-.78" in entry.evidence


def test_the_bias_statement_carries_its_condition() -> None:
    entry = next(e for e in errata() if "appa-bias-limit-is-rank-one" in e.claims)
    for part in (entry.corrected, entry.scope):
        assert "standard normal weights and unscaled ReLU" in part


def test_the_width_formula_speaks_of_two_layers_and_is_the_new_one() -> None:
    entry = next(e for e in errata() if "sa-eq57-refined-singular-values" in e.claims)
    assert "(N_2-N_3)/N_1" in entry.corrected
    assert "Nothing is claimed for" in entry.scope
    assert not any("N_2/N_1-N_3/N_2" in e.corrected.replace(" ", "") for e in errata())


def test_matched_solution_is_not_called_wrong_at_large_dimension() -> None:
    entry = next(e for e in errata() if "sa-eq27-28-matched-solution" in e.claims)
    assert "hold for large $D$" in entry.scope
    assert entry.printed.endswith("exact up to $O(\\sigma^2)$")


def test_the_predictor_formula_is_not_blamed_for_time_ordering() -> None:
    entry = next(e for e in errata() if "sa-eq2-integrating-factor" in e.claims)
    assert "order" not in f"{entry.title} {entry.corrected} {entry.scope}"


def test_status_says_what_this_book_has_checked(overlay: Mapping[str, Check]) -> None:
    assert text(page()).count("a chapter that derives and measures it") == 14
    assert "it has not been run yet" in page(overlay=overlay)

    def shown(value: float) -> str:
        found = Measurement(WRONG, "alpha_sweep", "laptop", {"slope_h": value}, {}, {})
        run = Records({("laptop", WRONG): found}, {("laptop", "alpha_sweep"): True})
        return text(page(overlay=overlay, records=run))

    assert "Checked in chapter alpha sweep (laptop scale): slope h -0.95" in shown(
        -0.95
    )
    assert "In question: the measurement of chapter alpha sweep" in shown(-0.5)


def test_an_erratum_of_our_own_waits_for_its_measurement(
    overlay: Mapping[str, Check],
) -> None:
    (own,) = erratum.parse("f.yaml", [GOOD | {"class": "proved"}])
    assert "<article" not in page([own])
    assert "<article" not in page([own], overlay)
    found = Measurement(WRONG, "alpha_sweep", "laptop", {"slope_h": -0.95}, {}, {})
    run = Records({("laptop", WRONG): found}, {("laptop", "alpha_sweep"): True})
    assert page([own], overlay, run).count("<article") == 1
    held = replace(own, held_back="look at the page")
    assert "<article" not in page([held], overlay, run)
