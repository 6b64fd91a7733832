"""What the headers of the real chapters promise is what their cells do."""

import ast
from pathlib import Path

import pytest

from lazyrich.publish.chapter import COMPUTING, Chapter, chapters
from lazyrich.publish.tree import SCALES, Settings

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = chapters(ROOT, ROOT / "_toc.yml")
# A recorder takes scale and device as a label of what it is given.
LABELS = {"chapter", "Recorder"}


def read(chapter: Chapter, name: str) -> bool:
    """Whether a cell reads the parameter for more than the label of a record."""
    cells = [c for c in chapter.notebook().cells if c.cell_type == "code"]
    lines = "\n".join(cell.source for cell in cells).splitlines()
    tree = ast.parse(
        "\n".join(line for line in lines if line[:1] not in "%!?" or not line)
    )
    labels = [
        word.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") in LABELS
        for word in call.keywords
    ]
    return any(
        isinstance(node, ast.Name)
        and node.id == name
        and isinstance(node.ctx, ast.Load)
        and node not in labels
        for node in ast.walk(tree)
    )


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_offers_the_scales_and_devices_that_it_asks_for(name: str) -> None:
    chapter = CHAPTERS[name]
    assert chapter.scales == (SCALES if read(chapter, "scale") else SCALES[:1])
    assert chapter.devices == (COMPUTING if read(chapter, "device") else ("cpu",))


def test_one_scale_is_refused_by_what_there_is() -> None:
    with pytest.raises(ValueError, match="'flow' exists at scale laptop only"):
        CHAPTERS["flow"].refuse(Settings("paper"))
    with pytest.raises(ValueError, match="'flow' computes on the cpu only"):
        CHAPTERS["flow"].refuse(Settings(device="cuda"))
    CHAPTERS["flow"].refuse(Settings("laptop", "auto", 3))
    CHAPTERS["alpha_sweep"].refuse(Settings("paper", "cuda"))
