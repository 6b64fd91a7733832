"""Small files in the real formats."""

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np

from lazyrich.data.catalogue import IDX_NAMES

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx(values: np.ndarray) -> bytes:
    kind = f"{values.dtype.kind}{values.dtype.itemsize}"
    header = struct.pack(
        f">BBBB{values.ndim}I", 0, 0, CODES[kind], values.ndim, *values.shape
    )
    return header + values.astype(values.dtype.newbyteorder(">")).tobytes()


def idx_folder(folder: Path, n_train=40, n_test=20, zipped=True) -> dict[str, bytes]:
    """A set shaped like MNIST: every image is filled with ten times its label."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {}
    for start, count in ((0, n_train), (2, n_test)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.broadcast_to(10 * labels[:, None, None], (count, 28, 28)).copy()
        images[:, 0, :] = np.arange(28)
        images[:, 1, 0] = np.arange(count)
        for name, values in zip(
            IDX_NAMES[start : start + 2], (images, labels), strict=True
        ):
            content = idx(values)
            name = f"{name}.gz" if zipped else name
            contents[name] = gzip.compress(content, mtime=0) if zipped else content
            (folder / name).write_bytes(contents[name])
    return contents


def cifar_batches(per_batch=10) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    batches = {}
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        labels = (np.arange(per_batch) % 10).astype(np.uint8)[:, None]
        pixels = rng.integers(0, 256, (per_batch, 3072), dtype=np.uint8)
        batches[name] = np.concatenate([labels, pixels], axis=1).tobytes()
    return batches


def cifar_archive(path: Path, batches: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {**batches, "batches.meta.txt": b"airplane\n"}.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def text_archive(path: Path, text: str, name="text8") -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)


def image_folder(folder: Path, sizes: dict[str, list[tuple[int, int]]]) -> None:
    from PIL import Image

    for name, shapes in sizes.items():
        (folder / name).mkdir(parents=True)
        for i, (width, height) in enumerate(shapes):
            image = Image.new("RGB", (width, height), (10 * i, 20, 30))
            image.save(folder / name / f"{i}.png")
        (folder / name / "notes.txt").write_text("not an image")
