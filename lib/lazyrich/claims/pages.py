"""The scoreboard and the errata page, as HTML that works from disk and on a phone."""

import html
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from lazyrich.claims import markup, reference
from lazyrich.claims.check import Check
from lazyrich.claims.claim import PAPERS
from lazyrich.claims.erratum import Erratum, errata
from lazyrich.claims.markup import Html
from lazyrich.claims.verdict import MEANING, Row, Verdict, scoreboard

# Ids of the claims that the pages of a build show, where that is known.
Shown = Collection[str] | None

_STYLE = """<style>
.scoreboard ul{list-style:none;padding:0}
.scoreboard li{border-bottom:1px solid var(--pst-color-border,#d0d5dd);padding:.3em 0;
 display:grid;gap:.1em .8em;grid-template-columns:6.5em minmax(0,1fr)}
.scoreboard li>.verdict{justify-self:start;align-self:start}
.scoreboard li[hidden],.scoreboard section[hidden]{display:none}
.scoreboard form{display:flex;flex-wrap:wrap;gap:.5em 1.5em;margin:1em 0}
.scoreboard form input,.scoreboard form select{max-width:100%;font:inherit}
.scoreboard code{overflow-wrap:anywhere}
.scoreboard dl{margin:.3em 0 .6em 1em;font-size:.92em}
.scoreboard dd{margin-left:1em;overflow-wrap:anywhere}
.errata article{border-top:1px solid var(--pst-color-border,#d0d5dd);margin-top:1.5em}
.errata .versus{display:grid;gap:.5em 1.5em;
 grid-template-columns:repeat(auto-fit,minmax(min(18rem,100%),1fr))}
.errata .versus>div{overflow-x:auto;padding:.3em 0}
</style>"""

# Maths in folded entries is typeset when an entry is opened: 411 of them at once would
# keep a phone busy for seconds.
_SCRIPT = """<script>
(() => {
  const board = document.getElementById("claims-board");
  const [paper, verdict, word] = board.querySelectorAll("form select, form input");
  const count = board.querySelector("output");
  const filter = () => {
    const wanted = word.value.toLowerCase();
    let shown = 0;
    for (const item of board.querySelectorAll("li")) {
      const {paper: p, verdict: v} = item.dataset;
      item.hidden = (paper.value && p !== paper.value) ||
        (verdict.value && v !== verdict.value) ||
        (wanted && !item.textContent.toLowerCase().includes(wanted));
      shown += item.hidden ? 0 : 1;
    }
    for (const part of board.querySelectorAll("section"))
      part.hidden = !part.querySelector("li:not([hidden])");
    count.textContent = shown + " claims shown";
  };
  board.querySelector("form").addEventListener("input", filter);
  board.querySelector("form").addEventListener("submit", (e) => e.preventDefault());
  board.addEventListener("toggle", (event) => {
    const found = event.target.querySelectorAll(".lazy-math");
    found.forEach((span) => span.classList.replace("lazy-math", "math"));
    if (found.length && window.MathJax && MathJax.typesetPromise)
      MathJax.typesetPromise([event.target]);
  }, true);
})();
</script>"""


def _name(chapter: str) -> str:
    return html.escape(chapter.replace("_", " "))


def _link(row: Row, check: Check, shown: Shown = None) -> str:
    """A link to the measurement, to its chapter as long as its page has none."""
    there = row.measurement is not None and row.measurement.fresh
    if shown is not None:
        there = row.claim.id in shown
    if row.measurement is not None and check.anchor != f"claim-{row.claim.id}":
        there = True  # a place in the text of the page, not a row of a table
    anchor = f"#{html.escape(check.anchor)}" if there else ""
    where = f"{html.escape(check.chapter)}.html{anchor}"
    return f'<a href="{where}">{_name(check.chapter)}</a>'


def _origin(row: Row) -> str:
    """At which scale the measurement that counts was made, and if it is a kept one."""
    found = row.measurement
    kept = found is not None and not found.fresh
    return f"{row.scale} scale" + (", kept record" if kept else "")


def summary(rows: Sequence[Row]) -> Html:
    """How many claims of each paper have which verdict, as a table."""
    counts = Counter((row.claim.paper, row.verdict) for row in rows)
    body = []
    for key, paper in PAPERS.items():
        cells = [str(counts[key, verdict]) for verdict in Verdict]
        body.append(({}, [html.escape(paper.short), *cells]))
    totals = [str(sum(counts[p, verdict] for p in PAPERS)) for verdict in Verdict]
    body.append(({}, ["all", *totals]))
    head = ["paper", *(markup.badge(verdict) for verdict in Verdict)]
    meanings = "".join(
        f"<li>{markup.badge(verdict)} {html.escape(MEANING[verdict])}</li>"
        for verdict in Verdict
    )
    table = markup.table(head, body)
    return Html(f"{markup.STYLE}{table}{_kept(rows)}<ul>{meanings}</ul>")


def _kept(rows: Sequence[Row]) -> str:
    """How many verdicts rest on kept records, as a paragraph; nothing if none does."""
    found = [row.measurement for row in rows if row.measurement is not None]
    kept = sum(not measurement.fresh for measurement in found)
    if not kept:
        return ""
    return (
        f"<p>{kept} of {len(found)} verdicts rest on kept records, which this build did "
        "not measure again; their entries say so.</p>"
    )


def _facts(row: Row) -> list[tuple[str, str]]:
    """What stands in the fold of one claim: term, as text, and description, as HTML."""
    source = "paper" if row.claim.quoted else "ledger"
    facts = [(source, markup.maths(row.claim.value, lazy=True))]
    check = row.check
    if check is None:
        return facts
    for scale, found in row.measurements.items():
        criteria = check.at(scale)
        told = [f"{row.by_scale[scale]}: {markup.measured(found, criteria)}"]
        kept = (found.provenance.get(key) for key in ("device", "data", "date"))
        told += [str(value) for value in kept if value]
        told += [] if found.fresh else ["a kept record, not measured in this build"]
        facts.append((f"measured at {scale} scale", html.escape("; ".join(told))))
    for scale, why in row.left_out.items():
        facts.append(
            (f"not measured in this build at {scale} scale", markup.maths(why))
        )
    for name, criterion in check.at(row.scale or "laptop").items():
        asked = f"{criterion.expected} {criterion.tolerance}".strip()
        why = markup.maths(criterion.because, lazy=True)
        facts.append((f"{name.replace('_', ' ')}: {asked}", f"because {why}"))
    for scale, why in check.deviates.items():
        facts.append(
            (f"why it deviates at {scale} scale", markup.maths(why, lazy=True))
        )
    for scale, need in check.needs.items():
        if scale not in row.measurements:
            why = markup.maths(need.because, lazy=True)
            facts.append((f"{scale} scale needs {need.what}", why))
    if check.proof and row.verdict is Verdict.ERRATUM:
        held = [
            entry.held_back
            for entry in errata()
            if row.claim.id in entry.claims and entry.held_back
        ]
        place = html.escape(row.claim.id)
        where = f'see the <a href="errata.html#{place}">errata page</a>'
        if held:
            where = f"not published: {html.escape(held[0])}"
        facts.append(("erratum", where))
    where = html.escape(reference.address(check.function))
    told = f'<a href="{where}"><code>{html.escape(check.function)}</code></a>'
    facts.append(("measured by", told))
    return facts


def _item(row: Row, shown: Shown) -> str:
    claim, check = row.claim, row.check
    mark, paper, kind = (html.escape(s) for s in (claim.id, claim.paper, claim.kind))
    line = []
    if check is not None:
        line.append(_link(row, check, shown))
    if check is not None and row.measurement is not None and row.scale is not None:
        told = markup.measured(row.measurement, check.at(row.scale))
        line.append(f"<span>{html.escape(told)} ({_origin(row)})</span>")
    facts = "".join(
        f"<dt>{html.escape(term)}</dt><dd>{text}</dd>" for term, text in _facts(row)
    )
    return (
        f'<li id="row-{mark}" data-paper="{paper}" '
        f'data-verdict="{row.verdict}">{markup.badge(row.verdict)}<div>'
        f"{' '.join(line)}<details><summary><code>{mark}</code> "
        f"{html.escape(claim.where)}, {kind}</summary>"
        f"<p>{markup.maths(claim.statement, lazy=True)}</p><dl>{facts}</dl>"
        f"</details></div></li>"
    )


def scoreboard_page(rows: Sequence[Row] | None = None, shown: Shown = None) -> Html:
    """Every claim with its verdict, to be filtered by paper, verdict and word.

    Args:
        rows: the scoreboard; by default that of the records on disk.
        shown: ids of the claims that have their place on a page of this build; by
            default those that were measured afresh.

    Raises:
        ValueError: ledger, checks or a record file are malformed.
    """
    rows = scoreboard() if rows is None else rows
    papers = "".join(
        f'<option value="{key}">{html.escape(paper.short)}</option>'
        for key, paper in PAPERS.items()
    )
    verdicts = "".join(f'<option value="{v}">{v}</option>' for v in Verdict)
    form = (
        '<form><label>Paper <select><option value="">all</option>'
        f"{papers}</select></label>"
        '<label>Verdict <select><option value="">all</option>'
        f"{verdicts}</select></label>"
        '<label>Word <input type="search"></label>'
        f'<output aria-live="polite">{len(rows)} claims shown</output></form>'
    )
    sections = []
    for key, paper in PAPERS.items():
        items = "".join(_item(row, shown) for row in rows if row.claim.paper == key)
        title = f"{paper.authors}: {paper.title} ({paper.version})"
        sections.append(
            f"<section><p><strong>{html.escape(title)}</strong></p>"
            f"<ul>{items}</ul></section>"
        )
    board = f'<div id="claims-board" class="scoreboard">{form}{"".join(sections)}</div>'
    return Html(markup.STYLE + _STYLE + board + _SCRIPT)


def published(
    entries: Sequence[Erratum] | None = None, rows: Mapping[str, Row] | None = None
) -> list[Erratum]:
    """The errata that may be shown.

    Confirmed ones, except those held back until the printed page has been looked at;
    and those proved by a chapter alone, once its measurement bears them out.
    """
    entries = errata() if entries is None else entries
    rows = {r.claim.id: r for r in scoreboard()} if rows is None else rows
    return [
        entry
        for entry in entries
        if entry.held_back is None
        and (entry.status == "confirmed" or _proved(entry, rows))
    ]


def _proved(entry: Erratum, rows: Mapping[str, Row]) -> list[Row]:
    found = (rows[claim_id] for claim_id in entry.claims)
    return [row for row in found if row.verdict is Verdict.ERRATUM]


def _status(entry: Erratum, rows: Mapping[str, Row], shown: Shown) -> str:
    """What this book has done about an erratum so far, from the records."""
    lines = []
    for row in (rows[claim_id] for claim_id in entry.claims):
        check, found = row.check, row.measurement
        if check is None or check.proof is None:
            continue
        where = _link(row, check, shown)
        if found is None or row.scale is None:
            lines.append(f"A check stands in chapter {where}; it has not been run yet.")
            continue
        told = html.escape(markup.measured(found, check.at(row.scale)))
        if row.verdict is Verdict.ERRATUM:
            proof = f"{check.proof.derivation} {check.proof.evidence}"
            lines.append(
                f"Checked in chapter {where} ({_origin(row)}): {told}. "
                f"{markup.maths(proof)}"
            )
        else:
            lines.append(
                f"In question: the measurement of chapter {where} does not bear out "
                f"the corrected statement ({_origin(row)}): {told}."
            )
    if not lines:
        lines.append(
            "Confirmed by our earlier independent review, with the numbers above; a "
            "chapter that derives and measures it is still to come."
        )
    return " ".join(lines)


def errata_page(
    entries: Sequence[Erratum] | None = None,
    rows: Sequence[Row] | None = None,
    shown: Shown = None,
) -> Html:
    """Printed and corrected statements side by side, with evidence and status.

    Args:
        entries: the errata; by default those of the package.
        rows: the scoreboard; by default that of the records on disk.
        shown: as for ``scoreboard_page``.

    Raises:
        ValueError: errata, ledger, checks or a record file are malformed.
    """
    by_id = {r.claim.id: r for r in (scoreboard() if rows is None else rows)}
    chosen = published(entries, by_id)
    parts = [markup.STYLE, _STYLE, '<div class="errata">']
    for entry in chosen:
        paper = PAPERS[entry.paper]
        anchors = "".join(
            f'<span id="{html.escape(claim_id)}"></span>' for claim_id in entry.claims
        )
        facts = [
            ("What it touches", markup.maths(entry.scope)),
            ("Reading under which the paper is right", markup.maths(entry.reading)),
            ("Evidence", markup.maths(entry.evidence)),
            ("In this book", _status(entry, by_id, shown)),
        ]
        told = "".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in facts)
        parts.append(
            f'<article id="{html.escape(entry.id)}">{anchors}'
            f"<h2>{markup.maths(entry.title)}</h2>"
            f"<p>{html.escape(paper.authors)}, <em>{html.escape(paper.title)}</em>, "
            f"{html.escape(entry.where)}. {html.escape(entry.version)}</p>"
            f'<div class="versus"><div><strong>Printed</strong><br>'
            f"{markup.maths(entry.printed)}</div><div><strong>Corrected</strong><br>"
            f"{markup.maths(entry.corrected)}</div></div><dl>{told}</dl></article>"
        )
    parts.append("</div>")
    return Html("".join(parts))
