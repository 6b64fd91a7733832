"""Parsers of the files that data sets come in; nothing here is unpickled.

A damaged or hostile file ends in a ``ValueError`` that names it: every checksum that a
format has is compared, and no file may unpack to more than ``LIMIT``. What the machine
refuses (permissions, a failing disk) stays an ``OSError`` and is no damage.
"""

import bz2
import gzip
import io
import lzma
import math
import re
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from lazyrich.core import extras

if TYPE_CHECKING:
    from PIL import Image

# IDX type codes, http://yann.lecun.com/exdb/mnist (all big-endian).
_IDX_TYPES = {
    0x08: ">u1",
    0x09: ">i1",
    0x0B: ">i2",
    0x0C: ">i4",
    0x0D: ">f4",
    0x0E: ">f8",
}
LIMIT = 2**31
"""Bytes that a compressed file may unpack to."""

_DAMAGE = (
    EOFError,
    OSError,  # of bytes in memory: an offset or a header that makes no sense
    ValueError,
    OverflowError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
)
_CIFAR_RECORD = 1 + 3 * 32 * 32
_CIFAR_LIMIT = 2**28  # the set has 184 MB
_CIFAR_BATCHES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]


def _gunzip(path: Path, content: bytes, limit: int = LIMIT) -> bytes:
    """The content of a gzip file, its checksum compared; other content as it is."""
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(limit + 1)
    except _DAMAGE as error:
        raise ValueError(f"{path} is a damaged gzip file ({error})") from error
    if len(unpacked) > limit:
        raise ValueError(f"{path} must unpack to at most {limit} bytes")
    return unpacked


def _head_of_gzip(content: bytes) -> bytes:
    """The first kilobyte of what a gzip file unpacks to, or of the content itself."""
    if content[:2] != b"\x1f\x8b":
        return content[:1024]
    try:
        return zlib.decompressobj(wbits=31).decompress(content, 1024)
    except zlib.error:
        return b""


def read_idx(path: Path) -> np.ndarray:
    """The array of an IDX file, plain or gzipped.

    Raises:
        ValueError: not an IDX file, or not as long as its header says.
    """
    content = path.read_bytes()
    head = _head_of_gzip(content)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_TYPES:
        _gunzip(path, content, 1024)  # a damaged file is told from another kind of file
        raise ValueError(f"{path} is no IDX file: it begins with {head[:4]!r}")
    dtype, ndim = np.dtype(_IDX_TYPES[head[2]]), head[3]
    start = 4 + 4 * ndim
    if len(head) < start:
        raise ValueError(f"{path} ends within its header")
    shape = struct.unpack(f">{ndim}I", head[4:start])
    expected = start + dtype.itemsize * math.prod(shape)
    if expected > LIMIT:
        raise ValueError(
            f"{path} must hold at most {LIMIT} bytes, its shape is {shape}"
        )
    content = _gunzip(path, content, expected)
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
        # To its end, where gzip has a checksum; a reader of the archive would stop early.
        content = _gunzip(path, path.read_bytes(), _CIFAR_LIMIT)
        try:
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
                for member in archive:
                    name = Path(member.name).name
                    file = archive.extractfile(member) if member.isfile() else None
                    if name in _CIFAR_BATCHES and file is not None:
                        batches[name] = file.read()
        except _DAMAGE as error:
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


_LETTERS = set(b"abcdefghijklmnopqrstuvwxyz ")


def read_text8(path: Path) -> str:
    """The text of text8: the zip archive, or the file it holds.

    Raises:
        ValueError: not an archive with one file of lower-case letters and spaces.
    """
    content = path.read_bytes()
    if path.suffix != ".zip":
        return _letters(path, io.BytesIO(content))
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            (name,) = archive.namelist()
            with archive.open(name) as file:
                return _letters(path, file)
    except _Strangers:
        raise
    except _DAMAGE as error:
        raise ValueError(f"{path} is no archive of one file ({error})") from error


class _Strangers(ValueError):
    """Something else than letters and spaces, or more of them than the limit."""


def _letters(path: Path, file: Any) -> str:
    """All of a file, piece by piece, so that a hostile one ends at its first piece."""
    pieces, total = [], 0
    while piece := file.read(2**20):
        pieces.append(piece)
        total += len(piece)
        if strangers := set(piece) - _LETTERS:
            raise _Strangers(
                f"{path} must hold lower-case letters and spaces alone, "
                f"got {bytes(sorted(strangers))[:10]!r}"
            )
        if total > LIMIT:
            raise _Strangers(f"{path} must unpack to at most {LIMIT} bytes")
    if not pieces:
        raise _Strangers(f"{path} must hold lower-case letters and spaces, is empty")
    return b"".join(pieces).decode("ascii")


_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".webp")


# What file managers and systems leave among the folders of a set.
_NO_CLASSES = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found", "__pycache__"}


def image_files(folder: Path) -> dict[str, list[Path]]:
    """The image files of every class of a folder, both in alphabetical order.

    Hidden files and folders, and those that systems leave behind, do not count.

    Raises:
        ValueError: no classes, or one without an image.
    """
    classes = {
        path.name: [
            file
            for file in sorted(path.rglob("*"))
            if file.suffix.lower() in _IMAGE_ENDINGS
            and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        ]
        for path in sorted(folder.iterdir())
        if path.is_dir()
        and not path.name.startswith(".")
        and path.name not in _NO_CLASSES
    }
    if not any(classes.values()):
        raise ValueError(f"{folder} must hold one sub-folder of images a class")
    for name, files in classes.items():
        if not files:
            raise ValueError(f"{folder / name} must hold images of its class, has none")
    return classes


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
        ValueError: no images, images of different sizes, or one whose pixels have no
            place in eight bits a colour (transparent, floating-point, several frames).
        ImportError: Pillow is not installed.
    """
    extras.require("PIL", "reading images (Pillow)", "chapters")
    from PIL import ImageOps

    classes = image_files(folder)
    images: list[np.ndarray] = []
    labels: list[int] = []
    for label, files in enumerate(classes.values()):
        for path in files:
            image = _read_image(path)
            if size is not None:
                image = ImageOps.fit(image, (size, size))
            images.append(np.asarray(image))
            labels.append(label)
            if images[-1].shape != images[0].shape:
                raise ValueError(
                    f"images must have one size (or give image_size=), got "
                    f"{images[0].shape[:2]} and {images[-1].shape[:2]} in {path}"
                )
    return np.stack(images), np.array(labels), tuple(classes)


def _read_image(path: Path) -> "Image.Image":
    """One image in eight bits a colour."""
    from PIL import Image, ImageOps

    content = path.read_bytes()
    broken = (*_DAMAGE, SyntaxError, Image.DecompressionBombError)
    try:
        with Image.open(io.BytesIO(content)) as opened:
            frames = getattr(opened, "n_frames", 1)
            image = ImageOps.exif_transpose(opened)
            image.load()
    except broken as error:
        raise ValueError(f"{path} is no readable image ({error})") from error
    if frames > 1:
        raise ValueError(f"{path} must be one image, holds {frames} frames")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"{path} must have 8 or 16 bits a pixel, has 32")
        grey = np.rint(values / 257).astype(np.uint8)  # 65535 is white
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "F":
        raise ValueError(f"{path} must have 8 or 16 bits a pixel, has floating point")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        image = image.convert("RGBA")
        if np.asarray(image)[..., 3].min() < 255:
            raise ValueError(
                f"{path} must not be transparent: its colour there is not defined "
                "(flatten it onto a background)"
            )
    return image.convert("RGB")


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
    file = io.BytesIO(path.read_bytes())
    try:
        with bz2.open(file, "rb") as dump:
            for _, page in ElementTree.iterparse(_Limited(dump)):
                if not page.tag.endswith("}page"):
                    continue
                space = page.tag.removesuffix("page")
                text = page.findtext(f"{space}revision/{space}text") or ""
                if page.findtext(f"{space}ns") in (None, "0") and not text.strip().lower(
                ).startswith("#redirect"):  # fmt: skip
                    articles.append(_plain_text(text))
                page.clear()
    except (*_DAMAGE, ElementTree.ParseError) as error:
        raise ValueError(f"{path} is no Wikipedia dump (.xml.bz2): {error}") from error
    if not articles:
        raise ValueError(f"{path} holds no article")
    return " ".join(articles)


class _Limited:
    """A file that refuses to give more than the limit."""

    def __init__(self, file: Any) -> None:
        self._file, self._given = file, 0

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._given += len(content)
        if self._given > LIMIT:
            raise ValueError(f"it must unpack to at most {LIMIT} bytes")
        return content


def _plain_text(markup: str) -> str:
    text = markup
    for _ in range(20):  # templates lie within templates
        text, count = _INNERMOST.subn(" ", text)
        if not count:
            break
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return " ".join(re.findall("[a-z]+", text.lower()))
