"""HTML for claims: text with maths, verdict badges, tables; no library, no file."""

import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lazyrich.claims.check import Criteria
from lazyrich.claims.criterion import Value
from lazyrich.claims.record import Measurement
from lazyrich.claims.verdict import Verdict

_MATHS = re.compile(r"\$([^$]+)\$")
_CODE = re.compile(r"`([^`]+)`")

STYLE = """<style>
.verdict{display:inline-block;padding:0 .5em;border-radius:1em;font-size:.85em;
 font-weight:600;border:1px solid currentColor;white-space:nowrap}
.verdict-reproduced{color:var(--pst-color-success,#1f7a3a)}
.verdict-deviates{color:var(--pst-color-danger,#b3261e)}
.verdict-erratum{color:var(--pst-color-accent,#8a3ab9)}
.verdict-needs-gpu,.verdict-needs-data,.verdict-pending{
 color:var(--pst-color-text-muted,#5b6470)}
.claim-table{border-collapse:collapse;display:block;overflow-x:auto;font-size:.9em}
.claim-table td,.claim-table th{padding:.25em .7em .25em 0;text-align:left;
 vertical-align:top;border-bottom:1px solid var(--pst-color-border,#d0d5dd)}
.claim-table td[colspan]>div{position:sticky;left:0;max-width:calc(100vw - 3.5em)}
@media (max-width:600px){.claim-table{font-size:.74em}
 .claim-table td,.claim-table th{padding-right:.35em}
 .claim-table .verdict{padding:0 .3em}}
</style>"""


@dataclass(frozen=True)
class Html:
    """A piece of a page: shown as HTML by Jupyter, as plain text elsewhere."""

    content: str
    text: str = ""

    def _repr_html_(self) -> str:
        return self.content

    def __repr__(self) -> str:
        return self.text or f"Html of {len(self.content)} characters"


def maths(text: str, *, lazy: bool = False) -> str:
    r"""``text`` as HTML: ``$...$`` becomes maths, back-ticks become code.

    With ``lazy`` the maths is left to be typeset when its entry is opened.
    """
    kind = "lazy-math" if lazy else "math notranslate nohighlight"
    out, end = [], 0
    for found in _MATHS.finditer(text):
        out.append(_prose(text[end : found.start()]))
        out.append(f'<span class="{kind}">\\({html.escape(found[1].strip())}\\)</span>')
        end = found.end()
    return "".join(out) + _prose(text[end:])


def _prose(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", html.escape(text))


def badge(verdict: Verdict) -> str:
    """The verdict as a coloured word."""
    return f'<span class="verdict verdict-{verdict}">{verdict}</span>'


def left_out(claim_id: str, because: str) -> Html:
    """A line that says that a claim is not measured in this run, and why."""
    told = f"not measured in this run: {because}"
    text = f"<p><code>{html.escape(claim_id)}</code> is {html.escape(told)}.</p>"
    return Html(text, f"{claim_id} is {told}.")


def number(value: Value, spread: float | None = None) -> str:
    """A measured value as text, rounded to what its spread resolves."""
    if isinstance(value, bool):
        return str(value).lower()
    if not spread:
        return f"{value:.4g}"
    size = max(abs(value), spread)
    if not 1e-3 <= size < 1e5:
        return f"{value:.3g} ± {spread:.1g}"
    digits = max(0, 1 - int(f"{spread:e}".partition("e")[2]))
    return f"{value:.{digits}f} ± {spread:.{digits}f}"


def measured(measurement: Measurement, criteria: Criteria) -> str:
    """Quantities and criteria: ``slope -1.75 ± 0.05 (expected -1.7 ± 0.2)``."""
    parts = []
    for name, criterion in criteria.items():
        asked = f"{criterion.expected} {criterion.tolerance}".strip()
        shown = number(measurement.values[name], measurement.spread.get(name))
        parts.append(f"{name.replace('_', ' ')} {shown} (expected {asked})")
    return "; ".join(parts)


def table(
    head: Iterable[str], rows: Iterable[tuple[Mapping[str, str], list[str]]]
) -> str:
    """An HTML table; each row is its attributes and its cells, already HTML. A single
    cell spans the row."""
    names = list(head)
    wide = f" colspan='{len(names)}'"
    lines = ["<table class='claim-table'><thead><tr>"]
    lines += [f"<th scope='col'>{cell}</th>" for cell in names]
    lines.append("</tr></thead><tbody>")
    for attributes, cells in rows:
        extra = "".join(f' {k}="{html.escape(v)}"' for k, v in attributes.items())
        if len(cells) == 1:  # stays in view when a phone scrolls the table
            body = f"<td{wide}><div>{cells[0]}</div></td>"
        else:
            body = "".join(f"<td>{cell}</td>" for cell in cells)
        lines.append(f"<tr{extra}>{body}</tr>")
    lines.append("</tbody></table>")
    return "".join(lines)
