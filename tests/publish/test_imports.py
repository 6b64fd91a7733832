"""Which definitions of the library a chapter rests on: all of them, and no others."""

from pathlib import Path

import pytest
from publish.tiny_book import Book

from lazyrich.publish import modules
from lazyrich.publish.imports import Library, closure

PACKAGE = Path(modules.__file__).parents[1]
FILES = {
    "core/__init__.py": "",
    "core/rng.py": (
        "from numpy import array\nSALT = 1\ndef draw(): return SALT\ndef other(): pass"
    ),
    "core/effect.py": "TABLE = {}\nTABLE['a'] = 1\nclass C: pass",
    "kernels/__init__.py": (
        "from lazyrich.kernels.ntk import ntk, slow\n"
        "from lazyrich.kernels.trace import trace\n"
        "from lazyrich.kernels.style import style\n"
        "__all__ = ['ntk', 'slow', 'style', 'trace']"
    ),
    "kernels/ntk.py": (
        "def ntk():\n    from lazyrich.core import rng\n    return rng.draw()\n"
        "def slow(): return ntk()"
    ),
    "kernels/trace.py": "from ..core.rng import other as o\ndef trace(): return o()",
    "kernels/style.py": "def style(): pass\ndef new(): pass",
    # Names of names: the face of a face.
    "top/__init__.py": "from lazyrich.kernels import ntk as kernel\nfrom . import deep",
    "top/deep.py": "from lazyrich.top import kernel\ndef f(): return kernel()",
    "data/__init__.py": "from . import images\nfrom .images import load",
    "data/images.py": (
        "from pathlib import Path\ndef load(): return Path(__file__).parent / 'x'\n"
        "def pure(): return 1"
    ),
    "data/tables/x.yaml": "a: 1",
    "sneaky.py": (
        "import lazyrich.kernels as k\n"
        "def by_name(n): return getattr(k, n)\n"
        "def reflect(): return globals()['hidden']\n"
        "def hidden(): pass\n"
        "PATH = 'lazyrich.core.rng:draw'\n"
        "def plugin(n): return f'lazyrich.kernels.{n}'"
    ),
    "stars.py": "from lazyrich.core.rng import *\ndef f(): return draw()",
    "studies/__init__.py": "",
    "studies/part/__init__.py": "",
    "studies/part/sweep.py": (
        "from lazyrich import sweeps\nfrom lazyrich.kernels import ntk, trace\n"
        "def measure(): return ntk()\n"
        "FIRST = sweeps.register(sweeps.Study(name='first_sweep', measure=measure))\n"
        "def _study(name, m): return sweeps.register(sweeps.Study(name, m))\n"
        "SECOND = _study('second_sweep', trace)"
    ),
    "sweeps/__init__.py": "from lazyrich.sweeps.study import Study, load, register",
    "sweeps/study.py": "class Study: pass\ndef register(s): return s\ndef load(n): pass",
}
DRAW = {"core.rng.draw", "core.rng.SALT"}
NTK = DRAW | {"kernels.ntk.ntk"}
TRACE = {"kernels.trace.trace", "core.rng.other"}
STYLE = {"kernels.style.style"}
FACE = NTK | TRACE | STYLE | {"kernels.ntk.slow"}


@pytest.fixture
def library(book: Book) -> Library:
    for name, text in FILES.items():
        book.library(name, text)
    return Library(book.root / "lib" / "lazyrich")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import numpy", set()),
        ("from lazyrich.kernels import ntk", NTK),
        ("from lazyrich.kernels import ntk as f\nf()", NTK),
        ("from lazyrich import kernels\nkernels.trace(1)", TRACE),
        ("import lazyrich as lr\nlr.kernels.trace(1)", TRACE),
        ("import lazyrich.kernels\nlazyrich.kernels.ntk()", NTK),
        ("import lazyrich.kernels.trace as t\nt.trace()", TRACE),
        ("def f():\n    from lazyrich.kernels import trace\n    return trace()", TRACE),
        ("%matplotlib inline\nfrom lazyrich.kernels import trace\n!ls", TRACE),
        # A name of the face and the module of the same name.
        ("from lazyrich.kernels import style\nstyle()", STYLE),
        (
            "from lazyrich.kernels.style import new\nnew()",
            # As an attribute, kernels.style.new may belong to the function.
            {"kernels.style.new", "kernels.style.style"},
        ),
        # A face that is only named, handed on, or asked for by name counts whole.
        ("from lazyrich import kernels", FACE),
        ("import lazyrich.kernels", FACE),
        ("from lazyrich import kernels\nshow(kernels)", FACE),
        ("from lazyrich import kernels as k\ngetattr(k, name)()", FACE),
        ("from lazyrich.kernels import *", FACE),
        ("f = import_module('lazyrich.kernels')", FACE),
        # Faces of faces, relative imports, circles.
        ("from lazyrich.top import kernel", NTK),
        ("from lazyrich import top\ntop.deep.f()", NTK | {"top.deep.f"}),
        ("from lazyrich.stars import f", {"stars.f", "core.rng.SALT"} | {
            "core.rng.draw", "core.rng.other"
        }),
        # What the syntax tree does not say.
        ("from lazyrich.sneaky import by_name", FACE | {"sneaky.by_name"}),
        ("from lazyrich.sneaky import PATH", DRAW | {"sneaky.PATH"}),
        ("x = 'lazyrich.core.rng:other'", {"core.rng.other"}),
        ("x = 'the words lazyrich.core.rng in a sentence'", set()),
        # Data files count with what asks where it lies.
        (
            "from lazyrich import data\ndata.load()",
            {"data.images.load", "data/tables/x.yaml"},
        ),
        ("from lazyrich.data.images import pure", {"data.images.pure"}),
        # What a module does on import counts with any name of it.
        (
            "from lazyrich.core.effect import C",
            {"core.effect.C", "core.effect.*", "core.effect.TABLE"},
        ),
    ],
)  # fmt: skip
def test_closure(library: Library, source: str, expected: set[str]) -> None:
    assert set(closure([source], library)) == expected


def test_all_names_count_where_a_module_looks_into_itself(library: Library) -> None:
    assert "sneaky.hidden" in closure(["from lazyrich.sneaky import reflect"], library)


def test_a_package_counts_whole_where_names_are_put_together(library: Library) -> None:
    found = closure(["from lazyrich.sneaky import plugin"], library)
    assert found.keys() >= FACE | {"kernels.style.new"}


def test_imports_and_uses_may_stand_in_different_cells(library: Library) -> None:
    cells = ["from lazyrich import kernels", "kernels.trace()"]
    assert set(closure(cells, library)) == TRACE


def test_a_study_counts_by_the_name_it_is_registered_under(library: Library) -> None:
    first = closure(['sweeps.load("first_sweep")'], library)
    assert first.keys() >= {"studies.part.sweep.FIRST", *NTK}
    assert not first.keys() & TRACE
    second = closure(['sweeps.load("second_sweep")'], library)
    assert second.keys() >= {"studies.part.sweep._study", *TRACE}
    assert closure(['sweeps.load("sweep")'], library) == {}


def change(library: Library, name: str, old: str, new: str) -> Library:
    path = library.package / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return Library(library.package)


SOURCE = ["from lazyrich.kernels import ntk"]


@pytest.mark.parametrize(
    ("name", "old", "new", "counts"),
    [
        ("kernels/ntk.py", "return rng.draw()", "return 2 * rng.draw()", True),
        ("core/rng.py", "SALT = 1", "SALT = 2", True),
        ("kernels/__init__.py", "kernels.ntk import ntk", "kernels.trace import ntk", True),
        ("core/rng.py", "def draw():", "@cached\ndef draw():", True),
        ("core/rng.py", "def draw():", "def draw(n=1):", True),
        ("core/rng.py", "SALT = 1", "SALT = 1\nSALT += 1", True),
        ("kernels/ntk.py", "def ntk():\n", "def ntk():\n    '''Words.'''\n", False),
        ("kernels/ntk.py", "def ntk():\n", "# Words.\n\n\ndef ntk():\n", False),
        ("kernels/ntk.py", "def slow(): return ntk()", "def slow(): return 1", False),
        ("kernels/trace.py", "return o()", "return 1", False),
        ("core/rng.py", "def other(): pass", "def other(): return 1", False),
    ],
)  # fmt: skip
def test_what_changes_a_key(
    library: Library, name: str, old: str, new: str, counts: bool
) -> None:
    before = closure(SOURCE, library)
    after = closure(SOURCE, change(library, name, old, new))
    assert (before != after) == counts


def test_a_module_may_be_left_out_where_only_the_library_uses_it(
    library: Library,
) -> None:
    without = ("core.rng",)
    assert set(closure(SOURCE, library, without)) == {"kernels.ntk.ntk"}
    direct = ["from lazyrich.core.rng import draw"]
    assert set(closure(direct, library, without)) == {"core.rng.draw", "core.rng.SALT"}


def test_what_was_noted_is_what_is_read(library: Library, tmp_path: Path) -> None:
    notes = tmp_path / "notes" / "modules.json"
    first = Library(library.package, notes)
    fresh = closure(["from lazyrich import kernels, sneaky"], first)
    first.remember()
    assert closure(
        ["from lazyrich import kernels, sneaky"], Library(library.package, notes)
    ) == fresh  # fmt: skip
    changed = change(library, "core/rng.py", "SALT = 1", "SALT = 2").package
    assert closure(SOURCE, Library(changed, notes)) != closure(SOURCE, first)
    notes.write_text("{")
    assert closure(SOURCE, Library(changed, notes)) == closure(SOURCE, Library(changed))


FACES = sorted(path for path in PACKAGE.rglob("__init__.py"))


@pytest.mark.parametrize("path", FACES, ids=lambda path: path.parent.name)
def test_a_face_only_brings_names(path: Path) -> None:
    module = modules.parse(path.read_text(), "lazyrich", "lazyrich")
    lazy = {"__getattr__", "__dir__"} if path.parent == PACKAGE else set()
    names = {name for statement in module.statements for name in statement.binds}
    assert not module.effects, "a face does nothing on import"
    assert {n for n in names if not n.startswith("_") or n in lazy} <= lazy, names
    assert not module.stars


def test_the_studies_of_the_book_are_found() -> None:
    from lazyrich.studies import catalogue
    from lazyrich.sweeps import registered

    assert catalogue.__all__
    library = Library(PACKAGE)
    for name, study in registered().items():
        if study.measure.__module__.startswith("lazyrich.studies"):
            found = closure([f"sweeps.load({name!r})"], library)
            module = study.measure.__module__.partition(".")[2]
            assert f"{module}.{study.measure.__name__}" in found, name


@pytest.mark.parametrize(
    "cell",
    [
        "%time trace(1)",
        "for k in range(2):\n    %time trace(k)",
        "%%time\ntrace(1)",
        "%%capture kept\nfor k in range(2):\n    %time trace(k)",
        "found = !ls\ntrace(found)",
        "trace?",
        "await trace(1)",
    ],
)
def test_what_a_magic_runs_counts(library: Library, cell: str) -> None:
    cells = ["from lazyrich import kernels", cell.replace("trace", "kernels.trace")]
    assert set(closure(cells, library)) == TRACE


@pytest.mark.parametrize("cell", ["this is no python (", "%%bash\necho 'x", "x = '\\'"])
def test_cells_that_are_no_python_use_nothing(library: Library, cell: str) -> None:
    assert closure([cell], library) == {}
    used = "from lazyrich.kernels import trace"
    assert set(closure([cell, used], library)) == TRACE
