"""The overlay: strict about ids, keys and scales, consistent with library and book."""

import importlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lazyrich.claims import Check, book, check, checks, ledger

ID = "geiger-eq1-ntk-definition"
GOOD = """
chapter: model_and_flow
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
        ("chapter: model_and_flow\n", "", "chapter must be a non-empty text, got None"),
        ("model_and_flow", "Model Flow", "chapter must be the slug of a chapter"),
        ("lazyrich.kernels.ntk", "numpy.dot", "function must be a dotted path"),
        ("any:", "laptop:", "criteria must be under laptop and paper, or any alone"),
        ("any:", "huge:", "criteria must be under laptop and paper, or any alone"),
        ("error:", "spread:", "a quantity cannot be called 'spread'"),
        ("error:", "1st:", "'1st' is no name for a quantity"),
        ("below: 1e-9, ", "", "give exactly one of"),
        ("chapter:", "chapters:", "unknown key 'chapters'"),
        ("chapter:", "cell: two words\nchapter:", "cell must be an HTML anchor"),
        ("chapter:", "needs: {any: 1}\nchapter:", "needs must be a mapping by scale"),
        (
            "chapter:",
            "needs: {paper: {what: luck, because: it}}\nchapter:",
            "needs: paper: what must be one of gpu, data",
        ),
        ("chapter:", "deviates: yes\nchapter:", "deviates must be a mapping"),
        ("chapter:", "deviates: {}\nchapter:", "deviates must be a mapping by scale"),
        ("chapter:", "deviates: {paper: }\nchapter:", "an explanation under paper"),
        ("chapter:", "erratum: {derivation: x}\nchapter:", "evidence must be"),
        ("chapter:", "chapter: twice\nchapter:", "key 'chapter' stands twice"),
        ("error:", "error: {below: 1, because: x}\n    error:", "stands twice"),
    ],
)
def test_a_malformed_entry_is_refused(
    parse: Parse, old: str, new: str, words: str
) -> None:
    assert old in GOOD
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        parse(entry(GOOD.replace(old, new)))
    assert "geiger2020.yaml" in str(caught.value)


def test_an_unknown_id_is_refused(parse: Parse) -> None:
    with pytest.raises(ValueError, match="no-such-claim: the ledger has no such id"):
        parse(entry(GOOD, "no-such-claim"))


def test_scales_name_the_same_quantities(parse: Parse) -> None:
    two = """
chapter: x
function: lazyrich.kernels.ntk
criteria:
  laptop: {a: {below: 1, because: x}}
  paper: {b: {below: 1, because: x}}
"""
    with pytest.raises(ValueError, match="must name the same quantities"):
        parse(entry(two))


def test_an_overlay_speaks_about_its_own_paper_only(tmp_path: Path) -> None:
    (tmp_path / "silent_alignment.yaml").write_text(entry(GOOD))
    with pytest.raises(ValueError, match=f"{ID}: the ledger has no such id"):
        check.read_folder(tmp_path)
    (tmp_path / "silent_alignment.yaml").rename(tmp_path / "someone2021.yaml")
    with pytest.raises(ValueError, match="someone2021.yaml: no such paper"):
        check.read_folder(tmp_path)


def test_our_checks_point_at_claims_chapters_and_functions_that_exist() -> None:
    chapters = book.chapters()
    for claim_id, found in checks().items():
        assert claim_id in ledger()
        assert chapters is None or found.chapter in chapters, claim_id
        package, name = found.function.split(".")[:2], found.function.split(".")[2:]
        target = importlib.import_module(".".join(package))
        assert not found.public or name[0] in target.__all__, found.function
        for part in name:
            if not hasattr(target, part):
                importlib.import_module(f"{target.__name__}.{part}")
            target = getattr(target, part)
        assert callable(target), claim_id


def test_only_public_functions_stand_in_the_reference(parse: Parse) -> None:
    for function, public in (
        ("lazyrich.kernels.ntk", True),
        ("lazyrich.networks.FullyConnected.init", True),
        ("lazyrich.dynamics.steps.rule.decay", False),
    ):
        text = entry(GOOD.replace("lazyrich.kernels.ntk", function))
        assert parse(text)[ID].public == public


def test_table_of_contents_is_read_at_any_depth(tmp_path: Path) -> None:
    toc = tmp_path / "_toc.yml"
    assert book.chapters(toc) is None
    toc.write_text(
        "format: jb-book\nroot: book/intro\nparts:\n- caption: One\n  chapters:\n"
        "  - file: book/alpha_sweep\n    sections:\n    - file: book/inner\n"
    )
    assert book.chapters(toc) == ["intro", "alpha_sweep", "inner"]
