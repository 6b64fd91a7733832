"""Parsers of the files that data sets come in; nothing here is unpickled."""

import bz2
import gzip
import re
import struct
import tarfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

# IDX type codes, http://yann.lecun.com/exdb/mnist (all big-endian).
_IDX_TYPES = {
    0x08: ">u1",
    0x09: ">i1",
    0x0B: ">i2",
    0x0C: ">i4",
    0x0D: ">f4",
    0x0E: ">f8",
}
_CIFAR_RECORD = 1 + 3 * 32 * 32
_CIFAR_BATCHES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]


def read_idx(path: Path) -> np.ndarray:
    """The array of an IDX file, plain or gzipped.

    Raises:
        ValueError: not an IDX file, or not as long as its header says.
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError) as error:
            raise ValueError(f"{path} is a damaged gzip file ({error})") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES:
        raise ValueError(f"{path} is no IDX file: it begins with {content[:4]!r}")
    dtype, ndim = np.dtype(_IDX_TYPES[content[2]]), content[3]
    start = 4 + 4 * ndim
    if len(content) < start:
        raise ValueError(f"{path} ends within its header")
    shape = struct.unpack(f">{ndim}I", content[4:start])
    expected = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        raise ValueError(
            f"{path} must have {expected} bytes for shape {shape}, got {len(content)}"
        )
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def read_cifar10(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """CIFAR-10 in its *binary version*: a tar.gz archive, or the folder it holds.

    Returns:
        images, shape (n, 32, 32, 3), uint8; labels, shape (n,); and how many of them
        come first, from the training batches.

    Raises:
        ValueError: a batch is missing or not a whole number of records.
    """
    batches: dict[str, bytes] = {}
    if path.is_dir():
        for name in _CIFAR_BATCHES:
            if (path / name).is_file():
                batches[name] = (path / name).read_bytes()
    else:
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    name = Path(member.name).name
                    file = archive.extractfile(member) if member.isfile() else None
                    if name in _CIFAR_BATCHES and file is not None:
                        batches[name] = file.read()
        except (tarfile.TarError, EOFError, OSError) as error:
            raise ValueError(f"{path} is a damaged archive ({error})") from error
    if missing := [name for name in _CIFAR_BATCHES if name not in batches]:
        raise ValueError(
            f"{path} must hold the CIFAR-10 binary version, lacks {missing}"
        )
    records = []
    for name in _CIFAR_BATCHES:
        if not batches[name] or len(batches[name]) % _CIFAR_RECORD:
            raise ValueError(
                f"{name} must be a whole number of {_CIFAR_RECORD}-byte records, "
                f"got {len(batches[name])} bytes"
            )
        records.append(
            np.frombuffer(batches[name], np.uint8).reshape(-1, _CIFAR_RECORD)
        )
    table = np.concatenate(records)
    labels = table[:, 0].astype(np.int64)
    if labels.max() > 9:
        raise ValueError(f"labels must be below 10, got {labels.max()}")
    images = table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels, len(table) - len(records[-1])


def read_text8(path: Path) -> str:
    """The text of text8: the zip archive, or the file it holds.

    Raises:
        ValueError: not an archive with one file of lower-case letters and spaces.
    """
    if path.suffix == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                (name,) = archive.namelist()
                content = archive.read(name)
        except (zipfile.BadZipFile, EOFError, ValueError) as error:
            raise ValueError(f"{path} is no archive of one file ({error})") from error
    else:
        content = path.read_bytes()
    strangers = set(content) - set(b"abcdefghijklmnopqrstuvwxyz ")
    if not content or strangers:
        raise ValueError(
            f"{path} must hold lower-case letters and spaces alone, "
            f"got {bytes(sorted(strangers))[:10]!r}"
        )
    return content.decode("ascii")


_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".webp")


def read_image_folder(
    folder: Path, size: int | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Images sorted into one sub-folder a class, as in subsets of ImageNet.

    Args:
        folder: its sub-folders, in alphabetical order, are the classes.
        size: scale the shorter side to this and cut out the central square; without it
            all images must have one size.

    Returns:
        images, shape (n, height, width, 3), uint8; labels, shape (n,); class names.

    Raises:
        ValueError: no images, or images of different sizes.
        ImportError: Pillow is not installed.
    """
    from PIL import Image, ImageOps

    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    images: list[np.ndarray] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for path in sorted((folder / name).rglob("*")):
            if path.suffix.lower() not in _IMAGE_ENDINGS:
                continue
            try:
                with Image.open(path) as opened:
                    image = ImageOps.exif_transpose(opened).convert("RGB")
            except OSError as error:
                raise ValueError(f"{path} is no readable image ({error})") from error
            if size is not None:
                image = ImageOps.fit(image, (size, size))
            images.append(np.asarray(image))
            labels.append(label)
            if images[-1].shape != images[0].shape:
                raise ValueError(
                    f"images must have one size (or give image_size=), got "
                    f"{images[0].shape[:2]} and {images[-1].shape[:2]} in {path}"
                )
    if not images:
        raise ValueError(f"{folder} must hold one sub-folder of images a class")
    return np.stack(images), np.array(labels), tuple(classes)


# Markup of articles, removed in this order: what lies inside templates, tables, comments
# and references is no running text; of links and headings the words are kept.
_MARKUP = (
    (re.compile(r"<!--.*?-->|<ref[^>]*/>|<ref.*?</ref>|<math.*?</math>", re.S), " "),
    (re.compile(r"\[\[(?:File|Image|Category)[^\[\]]*\]\]", re.I), " "),
    (re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]"), r"\1"),
    (re.compile(r"\[https?://\S+ ?([^\]]*)\]"), r"\1"),
    (re.compile(r"<[^>]+>|&[a-z]+;|https?://\S+"), " "),
)
_INNERMOST = re.compile(r"\{\{[^{}]*\}\}|\{\|[^{}]*\|\}", re.S)


def read_wikipedia(path: Path) -> str:
    """Articles of a Wikipedia dump (``.xml.bz2``) as lower-case letters and single spaces,
    the alphabet of text8; redirects and other pages than articles are left out.

    Raises:
        ValueError: no dump, or one without an article.
        FileNotFoundError: no such file.
    """
    articles = []
    try:
        with bz2.open(path, "rb") as dump:
            for _, page in ElementTree.iterparse(dump):
                if not page.tag.endswith("}page"):
                    continue
                space = page.tag.removesuffix("page")
                text = page.findtext(f"{space}revision/{space}text") or ""
                if page.findtext(f"{space}ns") in (None, "0") and not text.strip().lower(
                ).startswith("#redirect"):  # fmt: skip
                    articles.append(_plain_text(text))
                page.clear()
    except FileNotFoundError:
        raise
    except (OSError, EOFError, ElementTree.ParseError) as error:
        raise ValueError(f"{path} is no Wikipedia dump (.xml.bz2): {error}") from error
    if not articles:
        raise ValueError(f"{path} holds no article")
    return " ".join(articles)


def _plain_text(markup: str) -> str:
    text = markup
    for _ in range(20):  # templates lie within templates
        text, count = _INNERMOST.subn(" ", text)
        if not count:
            break
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return " ".join(re.findall("[a-z]+", text.lower()))
