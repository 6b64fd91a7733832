"""From sources to pages in one call: execute what is stale, stage, build."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lazyrich.core import project
from lazyrich.publish import schedule, site
from lazyrich.publish.chapter import chapters as read_chapters
from lazyrich.publish.schedule import Outcome
from lazyrich.publish.tree import Tree


@dataclass(frozen=True)
class Result:
    """What ``publish`` did: chapters, the first page, and what went wrong."""

    tree: Tree
    outcome: Outcome
    page: Path | None
    problem: str | None

    @property
    def ok(self) -> bool:
        """Every chapter has its outputs, and the pages stand if they were asked for."""
        return not self.outcome.failed and self.problem is None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for ``--json``."""
        return {
            "settings": self.tree.settings.parameters(),
            "executed": self.outcome.executed,
            "reasons": self.outcome.reasons,
            "current": self.outcome.current,
            "failed": [vars(failure) for failure in self.outcome.failed],
            "page": None if self.page is None else str(self.page),
            "problem": self.problem,
        }


def publish(
    tree: Tree | None = None,
    *,
    chapter: str | None = None,
    jobs: int = 2,
    html: bool = True,
    force: bool = False,
    fresh: bool = False,
    progress: bool = True,
) -> Result:
    """Execute the chapters that are not current and build the pages.

    The whole book at another scale or device executes each chapter at what it offers:
    one that exists at one scale is shared with the book at that scale. A single chapter
    is refused instead.

    With one ``chapter``, that one and those it needs are executed, and the pages show
    what has been executed so far; links to other chapters may then lead nowhere, so
    only the whole book is built with warnings as errors. If a chapter fails, the
    others finish, and no pages are built.

    Args:
        tree: the book, and the scale, device and seed given to every chapter; by
            default the project's own book at the default settings.
        chapter: name of a single chapter.
        jobs: how many chapters run at a time.
        html: build the pages.
        force: execute also what is current.
        fresh: build every page, also those that did not change.
        progress: draw a bar on standard error.

    Raises:
        ValueError: malformed sources or arguments, or a scale or device that the chapter
            does not offer; the message names them.
    """
    tree = tree or Tree(project.root())
    found = read_chapters(tree.root, tree.toc)
    repository = site.address(site.REPOSITORY)
    wanted = list(found) if chapter is None else [chapter]
    if chapter in found:
        found[chapter].refuse(tree.settings)
    outcome = schedule.execute(
        tree, found, wanted, jobs=jobs, force=force, progress=progress
    )
    page, problem = None, None
    if html and not outcome.failed:
        try:
            page = site.build(tree, found, strict=chapter is None, fresh=fresh)
        except site.BuildError as error:
            problem = str(error)
        else:
            if chapter is not None:
                page = tree.html / f"{found[chapter].page}.html"
        if repository and problem is None:
            site.launchable(tree, found, repository)
    return Result(tree, outcome, page, problem)
