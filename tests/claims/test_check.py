"""The overlay: strict about ids, keys and scales, consistent with library and book."""

import importlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lazyrich.claims import Check, book, check, checks, ledger, reference

ID = "geiger-eq1-ntk-definition"
GOOD = """
function: lazyrich.kernels.ntk
criteria:
  any:
    error: {below: 1e-9, because: rounding}
"""
Parse = Callable[[str], Mapping[str, Check]]


def entry(text: str, claim_id: str = ID) -> str:
    lines = "".join(f"  {line}\n" for line in text.strip().split("\n"))
    return f"{claim_id}:\n{lines}"


def test_a_complete_entry(overlay: Mapping[str, Check]) -> None:
    found = overlay["geiger-eq9-kernel-exponent-L5"]
    assert found.anchor == "claim-geiger-eq9-kernel-exponent-L5"
    assert found.at("laptop")["slope"].width == 0.3
    assert found.at("paper")["slope"].width == 0.1
    assert found.needs["paper"].what == "gpu"
    assert overlay[ID].anchor == "kernel-three-ways"
    assert overlay[ID].at("paper") is overlay[ID].at("laptop")
    assert overlay["geiger-sec5-kernel-exponent-lazy"].proof is not None


def test_numbers_without_a_point_are_numbers(parse: Parse) -> None:
    assert parse(entry(GOOD))[ID].at("laptop")["error"].target == 1e-9


def test_an_empty_overlay_is_valid(parse: Parse) -> None:
    assert parse("# nothing yet\n") == {}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("function: lazyrich.kernels.ntk\n", "", "function must be a non-empty text"),
        ("lazyrich.kernels.ntk", "numpy.dot", "function must be a dotted path"),
        ("any:", "laptop:", "criteria must be under laptop and paper, or any alone"),
        ("any:", "huge:", "criteria must be under laptop and paper, or any alone"),
        ("error:", "spread:", "a quantity cannot be called 'spread'"),
        ("error:", "1st:", "'1st' is no name for a quantity"),
        ("below: 1e-9, ", "", "give exactly one of"),
        ("function:", "chapter: x\nfunction:", "unknown key 'chapter'"),
        ("function:", "cell: two words\nfunction:", "cell must be an HTML anchor"),
        ("function:", "needs: {any: 1}\nfunction:", "needs must be a mapping by scale"),
        (
            "function:",
            "needs: {paper: {what: luck, because: it}}\nfunction:",
            "needs: paper: what must be one of gpu, data",
        ),
        ("function:", "deviates: yes\nfunction:", "deviates must be a mapping"),
        ("function:", "deviates: {}\nfunction:", "deviates must be a mapping by scale"),
        ("function:", "deviates: {paper: }\nfunction:", "an explanation under paper"),
        ("function:", "erratum: {derivation: x}\nfunction:", "evidence must be"),
        ("function:", "function: x\nfunction:", "key 'function' stands twice"),
        ("error:", "error: {below: 1, because: x}\n    error:", "stands twice"),
    ],
)
def test_a_malformed_entry_is_refused(
    parse: Parse, old: str, new: str, words: str
) -> None:
    assert old in GOOD
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        parse(entry(GOOD.replace(old, new)))
    assert "model_and_flow.yaml" in str(caught.value)


def test_an_unknown_id_is_refused(parse: Parse) -> None:
    with pytest.raises(ValueError, match="no-such-claim: the ledger has no such id"):
        parse(entry(GOOD, "no-such-claim"))


def test_scales_name_the_same_quantities(parse: Parse) -> None:
    two = """
function: lazyrich.kernels.ntk
criteria:
  laptop: {a: {below: 1, because: x}}
  paper: {b: {below: 1, because: x}}
"""
    with pytest.raises(ValueError, match="must name the same quantities"):
        parse(entry(two))


def test_a_claim_belongs_to_one_chapter(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(entry(GOOD))
    assert check.read_folder(tmp_path)[ID].chapter == "flow"
    (tmp_path / "steps.yaml").write_text(entry(GOOD))
    with pytest.raises(ValueError, match=rf"steps.yaml: {ID} stands in flow.yaml too"):
        check.read_folder(tmp_path)


def test_a_file_is_named_by_its_chapter(parse: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="Model Flow.yaml: must be named by the slug"):
        parse(entry(GOOD), "Model Flow")


def test_our_checks_point_at_claims_chapters_and_functions_that_exist() -> None:
    chapters = book.chapters()
    for claim_id, found in checks().items():
        assert claim_id in ledger()
        assert chapters is None or found.chapter in chapters, claim_id
        package, name = found.function.split(".")[:2], found.function.split(".")[2:]
        target = importlib.import_module(".".join(package))
        for part in name:
            if not hasattr(target, part):
                importlib.import_module(f"{target.__name__}.{part}")
            target = getattr(target, part)
        assert callable(target), claim_id


@pytest.mark.parametrize(
    ("function", "page"),
    [
        ("lazyrich.kernels.ntk", "reference_kernels"),
        ("lazyrich.networks.FullyConnected.init", "reference_networks"),
        ("lazyrich.dynamics.steps.rule.decay", "reference_dynamics"),
        ("lazyrich.figures.Slider", "reference_figures"),
        ("lazyrich.studies.alignment.transfer.risk", "reference_studies_alignment"),
    ],
)
def test_every_function_has_its_place_in_the_reference(
    function: str, page: str
) -> None:
    assert reference.address(function) == f"{page}.html#{function}"


def test_table_of_contents_is_read_at_any_depth(tmp_path: Path) -> None:
    toc = tmp_path / "_toc.yml"
    assert book.chapters(toc) is None
    toc.write_text(
        "format: jb-book\nroot: book/intro\nparts:\n- caption: One\n  chapters:\n"
        "  - file: book/alpha_sweep\n    sections:\n    - file: book/inner\n"
    )
    assert book.chapters(toc) == ["intro", "alpha_sweep", "inner"]
