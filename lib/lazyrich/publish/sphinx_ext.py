"""The book's Sphinx extension: stricter checks, MathJax from disk, origin of pages.

- warns of what Sphinx lets pass: images without a text alternative, footnotes without a
  text, raw HTML that asks another host for something;
- puts the files of MathJax that pages need beside them;
- says on each chapter how it was executed, and tabulates it (``execution-table``);
- shows what became of the claims (``claims``), as it stands when the page is built;
- points the edit buttons at the source instead of the executed notebook.
"""

import html
import importlib.metadata
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

from lazyrich import claims
from lazyrich.core import book
from lazyrich.publish import stamp
from lazyrich.publish.reference import Library, skip_foreign
from lazyrich.publish.site import BRANCH

LOG = logging.getLogger(__name__)
MATHJAX_PACKAGE = "sphinx-mathjax-offline"
MATHJAX = "vendor/mathjax"
MATHJAX_FILES = (
    "tex-chtml.js",
    "input/tex/extensions/*.js",
    "output/chtml/fonts/woff-v2/*.woff",
)
STATUS_PAGE = "book/reproducibility"
_FOOTNOTE = re.compile(r"\[\^[\w-]+\]")
# The anchor of a claim in a notebook, whose strings are JSON.
_CLAIM = re.compile(r'id=\\?"claim-([\w.-]+)\\?"')
_EDIT = re.compile(rf"/edit/{BRANCH}/(.+?)\.(?:ipynb|md)$")
# Stands for a colon while napoleon looks; of the private-use area, so in no text.
_COLON = "\ue000"
# Attributes through which a page loads something by itself.
_LOADING = {"script": "src", "img": "src", "iframe": "src", "link": "href"}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("execution-table", ExecutionTable)
    app.add_directive("library", Library)
    app.add_directive("claims", ClaimsPart)
    app.add_role("claims", claims_count)
    app.connect("env-get-outdated", pages_of_claims)
    app.connect("env-purge-doc", forget_claims)
    app.connect("env-merge-info", merge_claims)
    app.connect("builder-inited", find_shown_claims)
    app.connect("builder-inited", copy_mathjax)
    app.connect("source-read", depend_on_stamp)
    # Before napoleon, which has the default priority 500.
    app.connect("autodoc-process-docstring", as_written, priority=400)
    app.connect("autodoc-process-docstring", colon_again, priority=600)
    app.connect("autodoc-skip-member", skip_tuple_field)
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("missing-reference", find_public_name)
    app.connect("doctree-resolved", check_page)
    app.connect("doctree-resolved", drop_repeated_ids)
    # Before viewcode, which lists them among the pages of sources.
    app.connect("html-collect-pages", forget_modules_without_source, priority=400)
    app.connect("html-page-context", add_status, priority=900)
    app.connect("html-page-context", edit_the_source, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def copy_mathjax(app: Sphinx) -> None:
    """Copy the part of MathJax that shows TeX, about 2 MB, into the static files.

    Raises:
        RuntimeError: the package that ships MathJax has not the expected files.
    """
    if app.builder.format != "html":
        return
    found = importlib.metadata.files(MATHJAX_PACKAGE) or []
    entry = [file for file in found if str(file).endswith(MATHJAX_FILES[0])]
    if not entry:
        raise RuntimeError(f"{MATHJAX_PACKAGE} has no file {MATHJAX_FILES[0]}")
    folder = Path(str(entry[0].locate())).parent
    target = Path(app.outdir) / "_static" / MATHJAX
    for pattern in MATHJAX_FILES:
        for source in folder.glob(pattern):
            copy = target / source.relative_to(folder)
            if not copy.is_file() or copy.stat().st_size != source.stat().st_size:
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)


def _stamp_path(app: Sphinx, page: str) -> Path:
    return Path(app.srcdir) / f"{page}.json"


def forget_modules_without_source(app: Sphinx) -> list[Any]:
    """Modules such as ``builtins`` have no page of sources for a link to lead to."""
    modules = getattr(app.env, "_viewcode_modules", {})
    for name in [name for name, entry in modules.items() if entry is False]:
        del modules[name]
    return []


def depend_on_stamp(app: Sphinx, page: str, _source: list[str]) -> None:
    """Build a chapter's page again when its stamp changes."""
    if _stamp_path(app, page).is_file():
        app.env.note_dependency(str(_stamp_path(app, page)))


# The library reference


def as_written(
    _app: Sphinx, what: str, _name: str, _object: Any, _options: Any, lines: list[str]
) -> None:
    """Show a docstring as it stands.

    In ``|x|`` reST would read a substitution, and before a colon in the first line of a
    property napoleon would read a type.
    """
    if what in {"attribute", "data", "property"} and lines:
        lines[0] = lines[0].replace(": ", f"{_COLON} ")
    for number, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [part.replace("|", "\\|") for part in parts[::2]]
        lines[number] = "``".join(parts)


def colon_again(
    _app: Sphinx, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]
) -> None:
    """Put the colons back that were hidden from napoleon."""
    lines[:] = [line.replace(_COLON, ":") for line in lines]


def skip_tuple_field(
    _app: Sphinx, _what: str, _name: str, member: Any, _skip: bool, _options: Any
) -> bool | None:
    """Leave the fields of a named tuple to the docstring of its class."""
    return True if type(member).__name__ == "_tuplegetter" else None


def find_public_name(
    app: Sphinx, env: Any, node: pending_xref, content: nodes.Node
) -> nodes.Node | None:
    """Link a type that is named by its module to where the reference documents it.

    Public names are two levels deep, ``lazyrich.sweeps.Study``, but annotations know
    them as ``lazyrich.sweeps.study.Study``.
    """
    parts = node.get("reftarget", "").split(".")
    if node.get("refdomain") != "py" or parts[0] != "lazyrich" or len(parts) < 4:
        return None
    public = ".".join([*parts[:2], *parts[3:]])
    domain = env.get_domain("py")
    if public not in domain.objects:
        return None
    target = domain.objects[public]
    return make_refnode(
        app.builder, node["refdoc"], target.docname, target.node_id, content, public
    )


# What Sphinx lets pass


class _Raw(HTMLParser):
    """Collects complaints about a piece of raw HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "img" and not (attributes.get("alt") or "").strip():
            self.found.append("raw <img> without alt text")
        loaded = attributes.get(_LOADING.get(tag, "")) or ""
        if re.match(r"(https?:)?//", loaded):
            self.found.append(f"<{tag}> loads {loaded} from another host")


def complaints_about_html(text: str) -> list[str]:
    """What is wrong with a piece of raw HTML: external resources, missing alt texts."""
    parser = _Raw()
    parser.feed(text)
    return parser.found


def _complaints(doctree: nodes.document) -> Iterator[tuple[nodes.Node, str]]:
    for image in doctree.findall(nodes.image):
        uri = image.get("uri", "")
        alt = image.get("alt", "").strip()
        if not alt or alt in (uri, Path(uri).name):
            yield image, f"image without alt text: {Path(uri).name}"
    for raw in doctree.findall(nodes.raw):
        if "html" in raw.get("format", ""):
            for complaint in complaints_about_html(raw.astext()):
                yield raw, complaint
    for text in doctree.findall(nodes.Text):
        literal = (nodes.literal, nodes.literal_block, nodes.raw, nodes.math)
        if isinstance(text.parent, literal):
            continue
        for mark in _FOOTNOTE.findall(text.astext()):
            yield text.parent, f"footnote without a text: {mark}"


def drop_repeated_ids(_app: Sphinx, doctree: nodes.document, _page: str) -> None:
    """Remove ids that sphinx-exercise gives to the body of every exercise alike."""
    for section in doctree.findall(nodes.section):
        if section["ids"] in (["exercise-content"], ["solution-content"]):
            section["ids"] = []


def check_page(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Warn of what the standard checks let pass."""
    for node, complaint in _complaints(doctree):
        while node.parent is not None and not getattr(node, "line", None):
            node = node.parent
        place = (page, getattr(node, "line", None))
        LOG.warning(complaint, location=place, type="lazyrich", subtype="page")


# Where pages came from


def _status(facts: dict[str, Any]) -> str:
    used = ", ".join(facts.get("data", {}).get("used", []))
    return (
        f"Executed at scale {facts['scale']} on {facts['ran_on']} "
        f"in {_time(facts['seconds'])}, seed {facts['seed']}"
        + (f", with data from {html.escape(used)}." if used else ".")
    )


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def add_status(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: Any
) -> None:
    """Put one line below the title of a chapter: scale, device, time."""
    facts = stamp.read_stamp(_stamp_path(app, page))
    if facts is None or "body" not in context:
        return
    line = _status(facts)
    if STATUS_PAGE in app.env.found_docs:
        address = context["pathto"](STATUS_PAGE)
        line += f' <a class="reference internal" href="{address}">How, exactly?</a>'
    note = f'</h1>\n<p class="lr-executed">{line}</p>'
    context["body"] = context["body"].replace("</h1>", note, 1)


def edit_the_source(
    _app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doctree: Any
) -> None:
    """Let "suggest edit" open the text on the main branch, not the notebook."""
    buttons = list(context.get("header_buttons", []))
    while buttons:
        button = buttons.pop()
        buttons += button.get("buttons", [])
        if "url" in button:
            button["url"] = _EDIT.sub(r"/edit/main/\1.md", button["url"])


# What became of the claims


def find_shown_claims(app: Sphinx) -> None:
    """Note which claims the chapters of this build show: links lead to these alone."""
    found: set[str] = set()
    for path in Path(app.srcdir).rglob("*.ipynb"):
        found.update(_CLAIM.findall(path.read_text(encoding="utf-8")))
    app.env.lazyrich_shown = found  # pyright: ignore[reportAttributeAccessIssue]


def _claims_part(what: str, env: Any) -> str:
    """A part of the scoreboard or of the errata, as HTML."""
    return CLAIMS[what](env.lazyrich_shown).content


def _measured() -> int:
    return sum(row.measurement is not None for row in claims.scoreboard())


def _held_back() -> int:
    return sum(entry.held_back is not None for entry in claims.errata())


CLAIMS = {
    "summary": lambda _shown: claims.summary(claims.scoreboard()),
    "scoreboard": lambda shown: claims.scoreboard_page(shown=shown),
    "errata": lambda shown: claims.errata_page(shown=shown),
}
COUNTS = {
    "all": lambda: len(claims.ledger()),
    "measured": _measured,
    "held-back": _held_back,
}


class ClaimsPart(SphinxDirective):
    """``{claims} scoreboard``: all claims with their verdicts; also summary, errata."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The part as HTML; an error names what there is."""
        what = self.arguments[0]
        if what not in CLAIMS:
            raise self.error(f"claims must be one of {', '.join(CLAIMS)}, got {what}")
        _shows_claims(self.env)
        return [nodes.raw("", _claims_part(what, self.env), format="html")]


def claims_count(
    _name: str, rawtext: str, text: str, line: int, inliner: Any, *_: Any
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The role ``claims``: how many claims there are, are measured, are held back."""
    if text not in COUNTS:
        told = f"claims must be one of {', '.join(COUNTS)}, got {text}"
        message = inliner.reporter.error(told, line=line)
        return [inliner.problematic(rawtext, rawtext, message)], [message]
    _shows_claims(inliner.document.settings.env)
    return [nodes.Text(str(COUNTS[text]()))], []


def _shows_claims(env: Any) -> None:
    """Note that the page shows claims, and in which state they are."""
    known = getattr(env, "lazyrich_claims", {})
    env.lazyrich_claims = known | {env.docname: _state_of_claims(env)}


def _state_of_claims(env: Any) -> str:
    shown = [_claims_part(what, env) for what in CLAIMS]
    return stamp.digest("".join([*shown, *(str(count()) for count in COUNTS.values())]))


def pages_of_claims(_app: Sphinx, env: Any, *_: Any) -> list[str]:
    """The pages that show claims as they are no more; the others are left alone."""
    known = getattr(env, "lazyrich_claims", {})
    state = _state_of_claims(env) if known else ""
    return [
        page
        for page, before in known.items()
        if before != state and page in env.all_docs
    ]


def forget_claims(_app: Sphinx, env: Any, page: str) -> None:
    """A page is read again, or is gone."""
    getattr(env, "lazyrich_claims", {}).pop(page, None)


def merge_claims(_app: Sphinx, env: Any, pages: set[str], other: Any) -> None:
    """Take over what another process has read."""
    read = getattr(other, "lazyrich_claims", {})
    known = getattr(env, "lazyrich_claims", {})
    env.lazyrich_claims = known | {page: read[page] for page in pages & read.keys()}


class ExecutionTable(SphinxDirective):
    """``{execution-table}``: how each chapter was executed, from the stamps."""

    HEAD = ("Chapter", "Scale", "Device", "Time", "Slowest cell", "Finished", "Key")

    def run(self) -> list[nodes.Node]:
        """The table and, below it, the versions; a sentence if nothing is stamped."""
        source = Path(self.env.app.srcdir)
        found = []
        for page in book.pages(source / "_toc.yml"):
            facts = stamp.read_stamp(source / f"{page}.json")
            if facts is not None:
                self.env.note_dependency(str(source / f"{page}.json"))
                found.append((page, facts))
        if not found:
            text = "These pages were built without `make book`, which keeps this table."
            return [nodes.paragraph("", text)]
        rows = [self._row(page, facts) for page, facts in found]
        table = _table(self.HEAD, rows)
        versions = sorted({_versions(facts) for _, facts in found})
        return [table, *(nodes.paragraph("", text) for text in versions)]

    def _row(self, page: str, facts: dict[str, Any]) -> list[nodes.Node]:
        slowest = max(facts["cells"], key=lambda cell: cell["seconds"], default=None)
        link = pending_xref(
            "",
            nodes.inline("", facts["chapter"]),
            refdomain="std",
            reftype="doc",
            reftarget=f"/{page}",
            refdoc=self.env.docname,
            refexplicit=True,
            refwarn=True,
        )
        cell = nodes.inline("", "none")
        if slowest:
            cell = nodes.inline("", f"line {slowest['line']}, ")
            cell += nodes.literal("", slowest["starts"][:40])
            cell += nodes.Text(f", {_time(slowest['seconds'])}")
        return [
            link,
            nodes.inline("", facts["scale"]),
            nodes.inline("", facts["ran_on"]),
            nodes.inline("", _time(facts["seconds"])),
            cell,
            nodes.inline("", facts["finished"].replace("T", " ")[:16] + " UTC"),
            nodes.literal("", facts["key"][:8]),
        ]


def _versions(facts: dict[str, Any]) -> str:
    parts = [f"{name} {version}" for name, version in facts["versions"].items()]
    return "Executed with " + ", ".join(parts) + f"; {facts['threads']} thread(s) each."


def _table(head: tuple[str, ...], rows: list[list[nodes.Node]]) -> nodes.table:
    group = nodes.tgroup(cols=len(head))
    for _ in head:
        group += nodes.colspec(colwidth=1)
    top = nodes.row()
    for title in head:
        top += nodes.entry("", nodes.paragraph("", title))
    body = nodes.tbody()
    for row in rows:
        line = nodes.row()
        for node in row:
            paragraph = nodes.paragraph()
            paragraph += node
            line += nodes.entry("", paragraph)
        body += line
    group += nodes.thead("", top)
    group += body
    return nodes.table("", group)
