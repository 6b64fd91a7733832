"""What pages show of claims is made when they are built."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from publish.tiny_book import Book

from lazyrich.claims import Check, Measurement, _yaml, check, ledger, record, table
from lazyrich.claims.table import MIME, VerdictTable
from lazyrich.publish import render
from lazyrich.publish.book import publish

ID = "geiger-eq1-ntk-definition"
OTHER = "geiger-eq4-centred-scaled-model"
TEXT = """
{id}:
  function: lazyrich.kernels.ntk
  criteria:
    any:
      error: {{below: {below}, because: rounding}}
  deviates:
    laptop: {why}
"""


def overlay(below: str = "1e-9", why: str = "old reason") -> Mapping[str, Check]:
    text = TEXT.format(id=ID, below=below, why=why)
    text += TEXT.format(id=OTHER, below="1", why="none")
    return check.parse("a.yaml", _yaml.parse("a.yaml", text), ledger())


def measurement(claim_id: str = ID, **values: float) -> Measurement:
    values = values or {"error": 1e-8}
    return Measurement(claim_id, "a", "laptop", values, {}, {})


def page(*shown: VerdictTable) -> nbformat.NotebookNode:
    """An executed notebook that shows the tables."""
    cells = []
    for one in shown:
        output = nbformat.v4.new_output("display_data", one._repr_mimebundle_())
        cells.append(nbformat.v4.new_code_cell("show", outputs=[output]))
    return nbformat.v4.new_notebook(cells=cells)


def html(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.outputs[0].data["text/html"] for cell in notebook.cells]


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The checks of the day on which a page is built."""
    found = SimpleNamespace(overlay=overlay())
    monkeypatch.setattr(table, "checks", lambda: found.overlay)
    return found


def test_a_reason_of_today_stands_over_the_run_of_yesterday(
    today: SimpleNamespace,
) -> None:
    executed = page(VerdictTable([measurement()], overlay(), set()))
    assert "old reason" in html(executed)[0]
    today.overlay = overlay(why="new reason")
    render.judge(executed)
    assert "new reason" in html(executed)[0]
    assert "old reason" not in html(executed)[0]
    assert MIME not in executed.cells[0].outputs[0].data


def test_a_run_is_judged_by_the_criteria_of_today(today: SimpleNamespace) -> None:
    executed = page(VerdictTable([measurement()], overlay(), set()))
    today.overlay = overlay(below="1e-7")
    render.judge(executed)
    assert "verdict-reproduced" in html(executed)[0]
    assert "deviates" not in executed.cells[0].outputs[0].data["text/plain"]


def test_a_page_that_is_judged_again_is_the_same(today: SimpleNamespace) -> None:
    anchored: set[str] = set()
    first = VerdictTable([measurement()], overlay(), anchored)
    both = [measurement(), measurement(OTHER)]
    executed = page(first, VerdictTable(both, overlay(), anchored))
    before = html(executed)
    assert [text.count(f'id="claim-{ID}"') for text in before] == [1, 0]
    render.judge(executed)
    assert html(executed) == before


def test_a_run_that_does_not_fit_stays_as_it_was(today: SimpleNamespace) -> None:
    other = {ID: overlay()[ID], OTHER: overlay()[OTHER]}
    executed = page(VerdictTable([measurement()], other, set()))
    before = html(executed)
    today.overlay = {}
    render.judge(executed)
    assert html(executed) == before
    assert MIME not in executed.cells[0].outputs[0].data


def test_values_survive_the_notebook_to_the_last_bit(today: SimpleNamespace) -> None:
    facts = VerdictTable([measurement(error=1 / 3)], overlay(), set()).facts()
    text = nbformat.writes(page(VerdictTable.from_facts(facts, set(), overlay())))
    read = nbformat.reads(text, as_version=4).cells[0].outputs[0].data[MIME]
    assert read["claims"][0]["values"]["error"] == 1 / 3


def numbers(path: Path) -> list[str]:
    return re.findall(r"measured: (\d+) of (\d+)", path.read_text())


@pytest.mark.slow
def test_pages_of_claims_follow_the_records_and_execute_nothing(
    book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "records"
    monkeypatch.setenv("LAZYRICH_RECORDS", str(folder))
    monkeypatch.setattr(record, "kept_folder", lambda: tmp_path / "kept")
    book.prose(
        "board",
        "# Board\n\nmeasured: {claims}`measured` of {claims}`all`\n\n"
        "```{claims} summary\n```\n\n```{claims} scoreboard\n```\n",
    )
    book.chapter("b", "1")
    result = publish(book.tree(), progress=False)
    assert result.problem is None
    board, other = (result.tree.html / f"book/{name}.html" for name in ("board", "b"))
    kept = int(numbers(board)[0][0])
    assert numbers(board) == [(str(kept), str(len(ledger())))]
    dates = other.stat().st_mtime_ns

    record.write(folder, "flow", "laptop", {}, {ID: real()})
    again = publish(book.tree(), progress=False)
    assert again.problem is None
    assert again.outcome.executed == {}
    assert f'id="row-{ID}" data-paper="geiger2020" data-verdict="deviates"' in (
        board.read_text()
    )
    assert other.stat().st_mtime_ns == dates


def real() -> Measurement:
    """A measurement of a claim of the book that fails."""
    values = {"mismatch": 1.0, "smallest_eigenvalue": 0.0}
    return Measurement(ID, "flow", "laptop", values, {}, {})


@pytest.mark.slow
def test_a_page_that_was_removed_is_built_again(book: Book) -> None:
    book.chapter("a", "print('kept')")
    book.chapter("b", "1")
    tree = publish(book.tree(), progress=False).tree
    page, other = tree.html / "book/a.html", tree.html / "book/b.html"
    date = other.stat().st_mtime_ns
    page.unlink()
    result = publish(book.tree(), progress=False)
    assert result.outcome.executed == {}
    assert "kept" in page.read_text()
    assert other.stat().st_mtime_ns == date
    assert result.page == tree.html / "index.html"
