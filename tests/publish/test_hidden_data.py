"""A data set that comes or goes between two builds runs the chapters concerned again."""

from pathlib import Path

import pytest
from publish.tiny_book import Book

from lazyrich.core import presence
from lazyrich.publish.book import publish


@pytest.mark.slow
def test_only_the_chapters_that_asked_for_a_set_run_again(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The library of a tiny book is read for the keys; the chapter runs with ours.
    book.chapter("a", "from lazyrich import data\nprint(data.sources()['digits'])")
    book.chapter("b", "print('asks for nothing')")

    def reasons() -> dict[str, str]:
        outcome = publish(book.tree(), html=False, progress=False).outcome
        assert not outcome.failed
        return outcome.reasons

    def shown() -> str:
        return (book.tree().executed / "book/a.ipynb").read_text()

    monkeypatch.delenv(presence.HIDDEN, raising=False)
    assert set(reasons()) == {"a", "b"}
    assert "not here" not in shown()
    assert reasons() == {}
    monkeypatch.setenv(presence.HIDDEN, "digits")
    assert reasons() == {"a": "other data are here now (hidden digits)"}
    assert "not here" in shown()
    monkeypatch.delenv(presence.HIDDEN)
    assert set(reasons()) == {"a"}
    assert "not here" not in shown()


@pytest.mark.slow
def test_links_to_claims_lead_to_what_the_pages_show(
    book: Book, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of two claims of a chapter one was kept from a machine with other data."""
    monkeypatch.setenv("LAZYRICH_RECORDS", str(tmp_path / "records"))
    first, second = "geiger-eq1-ntk-definition", "geiger-eq4-centred-scaled-model"
    book.chapter(
        "flow",
        "from lazyrich import claims\nrec = claims.chapter('flow')\n"
        f"rec.record({first!r}, mismatch=0.0, smallest_eigenvalue=1.0)",
        f"rec.leave_out({second!r}, 'no such data here')",
    )
    book.prose("scoreboard", "# Scoreboard\n\n```{claims} scoreboard\n```\n")
    result = publish(book.tree(), progress=False)
    assert result.problem is None
    assert not result.outcome.failed
    board = (result.tree.html / "book/scoreboard.html").read_text()
    page = (result.tree.html / "book/flow.html").read_text()
    assert f'id="claim-{first}"' in page
    assert f'href="flow.html#claim-{first}"' in board
    assert f'id="claim-{second}"' not in page
    assert f'href="flow.html#claim-{second}"' not in board
    assert "no such data here" in board
    assert "no such data here" in page
    entry = board.partition(f'id="row-{second}"')[2].partition("</li>")[0]
    assert "kept record" in entry
