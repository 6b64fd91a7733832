"""Parsers, on small files in the real formats, whole and broken."""

import bz2
import gzip
import random
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

from lazyrich.data import formats


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "i4", "f4", "f8"])
def test_idx_of_every_type(writers, tmp_path, kind, zipped):
    values = np.array([[[0, 1], [2, 120]]] * 3, dtype=kind)
    content = writers.idx(values)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if zipped else content)
    back = formats.read_idx(path)
    assert back.dtype == values.dtype
    np.testing.assert_array_equal(back, values)


def test_idx_is_big_endian(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\0\0\x0b\x01\0\0\0\x02\x00\x01\x01\x00")
    assert formats.read_idx(path).tolist() == [1, 256]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda content: b"", "no IDX file"),
        (lambda content: b"P5 28 28", "no IDX file"),
        (lambda content: b"\0\0\x07" + content[3:], "no IDX file"),
        (lambda content: content[:6], "ends within its header"),
        (lambda content: content[:-1], "must have 28 bytes for shape"),
        (lambda content: content + b"\0", "must have 28 bytes for shape"),
        (lambda content: gzip.compress(content + b"\0"), "unpack to at most 28 bytes"),
        (lambda content: b"\0\0\x08\x03" + b"\xff" * 12, "must hold at most"),
        (lambda content: gzip.compress(content)[:-9], "damaged gzip file"),
    ],
)
def test_a_broken_idx_file_is_refused(writers, tmp_path, spoil, words):
    path = tmp_path / "file"
    path.write_bytes(spoil(writers.idx(np.zeros((3, 2, 2), np.uint8))))
    with pytest.raises(ValueError, match=words):
        formats.read_idx(path)


def test_cifar10_archive_and_folder(writers, tmp_path):
    batches = writers.cifar_batches()
    writers.cifar_archive(tmp_path / "c.tar.gz", batches)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, content in batches.items():
        (folder / name).write_bytes(content)
    for path in (tmp_path / "c.tar.gz", folder):
        images, labels, n_official = formats.read_cifar10(path)
        assert images.shape == (60, 32, 32, 3)
        assert n_official == 50
        assert labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
        record = np.frombuffer(batches["data_batch_2.bin"], np.uint8)[:3073]
        # A record is the label, then 1024 red, 1024 green and 1024 blue values by rows.
        assert images[10, 0, 1].tolist() == [record[2], record[1026], record[2050]]
        assert images[10, 1, 0, 0] == record[33]


def test_a_broken_cifar10_is_refused(writers, tmp_path):
    batches = writers.cifar_batches()
    path = tmp_path / "c.tar.gz"
    writers.cifar_archive(path, {k: v for k, v in batches.items() if "4" not in k})
    with pytest.raises(ValueError, match=r"lacks \['data_batch_4.bin'\]"):
        formats.read_cifar10(path)
    writers.cifar_archive(path, batches | {"test_batch.bin": b"\0" * 3000})
    with pytest.raises(ValueError, match="whole number of 3073-byte records"):
        formats.read_cifar10(path)
    writers.cifar_archive(path, batches | {"test_batch.bin": b"\x0a" * 3073})
    with pytest.raises(ValueError, match="labels must be below 10"):
        formats.read_cifar10(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match="damaged gzip file"):
        formats.read_cifar10(path)


def test_text8_archive_and_file(writers, tmp_path):
    text = "anarchism originated as a term of abuse "
    writers.text_archive(tmp_path / "text8.zip", text)
    (tmp_path / "text8").write_text(text)
    assert formats.read_text8(tmp_path / "text8.zip") == text
    assert formats.read_text8(tmp_path / "text8") == text
    (tmp_path / "text8").write_text("Capitals, commas")
    with pytest.raises(ValueError, match="lower-case letters and spaces alone"):
        formats.read_text8(tmp_path / "text8")
    (tmp_path / "text8.zip").write_bytes(b"PK\3\4 no archive")
    with pytest.raises(ValueError, match="no archive of one file"):
        formats.read_text8(tmp_path / "text8.zip")


def test_image_folder(writers, tmp_path):
    writers.image_folder(tmp_path, {"dog": [(6, 4)] * 2, "cat": [(6, 4)] * 3})
    images, labels, classes = formats.read_image_folder(tmp_path)
    assert classes == ("cat", "dog")
    assert labels.tolist() == [0, 0, 0, 1, 1]
    assert images.shape == (5, 4, 6, 3)
    assert images[2, 0, 0].tolist() == [20, 20, 30]
    assert formats.read_image_folder(tmp_path, size=3)[0].shape == (5, 3, 3, 3)


def test_a_broken_image_folder_is_refused(writers, tmp_path):
    with pytest.raises(ValueError, match="one sub-folder of images a class"):
        formats.read_image_folder(tmp_path)
    writers.image_folder(tmp_path, {"a": [(6, 4)], "b": [(4, 6)]})
    with pytest.raises(ValueError, match="must have one size"):
        formats.read_image_folder(tmp_path)
    (tmp_path / "a" / "0.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(ValueError, match="no readable image"):
        formats.read_image_folder(tmp_path)


DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">
<page><title>Ink</title><ns>0</ns><revision><text>{{Infobox|a={{b}}}}'''Ink''' is a
[[liquid|fluid]] or [[paste]].&lt;ref&gt;A source&lt;/ref&gt; [[File:Ink.jpg|thumb]]
== Use ==</text></revision></page>
<page><title>Inks</title><ns>0</ns><revision><text>
#REDIRECT [[Ink]]</text></revision></page>
<page><title>Talk</title><ns>1</ns><revision><text>chatter</text></revision></page>
</mediawiki>"""


def test_wikipedia_dump(tmp_path):
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(bz2.compress(DUMP.encode()))
    assert formats.read_wikipedia(path) == "ink is a fluid or paste use"
    path.write_bytes(bz2.compress(b"<mediawiki></mediawiki>"))
    with pytest.raises(ValueError, match="holds no article"):
        formats.read_wikipedia(path)
    path.write_bytes(b"no dump")
    with pytest.raises(ValueError, match="no Wikipedia dump"):
        formats.read_wikipedia(path)


def flipped(content, seed):
    """One bit of it turned."""
    at = random.Random(seed).randrange(8 * len(content))
    return content[: at // 8] + bytes([content[at // 8] ^ 1 << at % 8]) + content[
        at // 8 + 1 :
    ]  # fmt: skip


def exact(found):
    """All of what was read, to the last byte."""
    parts = found if isinstance(found, tuple) else (found,)
    return [p.tobytes() if isinstance(p, np.ndarray) else p for p in parts]


@pytest.mark.parametrize(
    "kind", ["idx.gz", "cifar.tar.gz", "text8.zip", "dump.xml.bz2"]
)
def test_one_wrong_bit_is_refused_or_changes_nothing(writers, tmp_path, kind):
    path = tmp_path / kind
    if kind == "idx.gz":
        path.write_bytes(gzip.compress(writers.idx(np.arange(400.0).reshape(20, 20))))
        read = formats.read_idx
    elif kind == "cifar.tar.gz":
        writers.cifar_archive(path, writers.cifar_batches(2))
        read = formats.read_cifar10
    elif kind == "text8.zip":
        writers.text_archive(path, "the quick brown fox " * 200)
        read = formats.read_text8
    else:
        path.write_bytes(bz2.compress(DUMP.encode()))
        read = formats.read_wikipedia
    sound, expected = path.read_bytes(), exact(read(path))
    refused = []
    for seed in range(60):
        path.write_bytes(flipped(sound, seed))
        try:
            assert exact(read(path)) == expected
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all(str(path) in line for line in refused)


def test_a_bomb_ends_early(tmp_path):
    path = tmp_path / "text8.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text8", bytes(2**26))
    tracemalloc.start()
    with pytest.raises(ValueError, match="letters and spaces alone"):
        formats.read_text8(path)
    archive = tmp_path / "cifar.tar.gz"
    archive.write_bytes(gzip.compress(bytes(2**28 + 2**20), 1))
    with pytest.raises(ValueError, match="unpack to at most"):
        formats.read_cifar10(archive)
    small = tmp_path / "idx.gz"
    small.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x04" + bytes(2**26)))
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    with pytest.raises(ValueError, match="unpack to at most 12 bytes"):
        formats.read_idx(small)
    assert tracemalloc.get_traced_memory()[1] - before < 2**22
    tracemalloc.stop()


def test_what_the_machine_refuses_is_no_damage(tmp_path, monkeypatch):
    path = tmp_path / "text8.zip"
    path.write_bytes(b"")

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    for read in (
        formats.read_idx,
        formats.read_cifar10,
        formats.read_text8,
        formats.read_wikipedia,
    ):
        with pytest.raises(PermissionError):
            read(path)


@pytest.fixture
def shelf(tmp_path):
    """A folder of two classes with one image each, to be written by the test."""

    def make(image, name="0.png"):
        for label in "ab":
            (tmp_path / label).mkdir(exist_ok=True)
            image.save(tmp_path / label / name)
        return tmp_path

    return make


RAMP = np.linspace(0, 1, 64).reshape(8, 8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_images_of_8_and_16_bits_are_the_same_picture(shelf, dtype):
    top = np.iinfo(dtype).max
    folder = shelf(Image.fromarray((RAMP * top).round().astype(dtype)))
    images, labels, classes = formats.read_image_folder(folder)
    assert np.abs(images[0] / 255 - RAMP[..., None]).max() <= 0.5 / 255 + 1e-4
    assert (labels.tolist(), classes) == ([0, 1], ("a", "b"))


@pytest.mark.parametrize(
    "image",
    [Image.new("RGBA", (4, 4), (255, 0, 0, 0)), Image.new("LA", (4, 4), (255, 100))],
)
def test_images_without_a_true_colour_are_refused(shelf, image):
    with pytest.raises(ValueError, match="must not be transparent"):
        formats.read_image_folder(shelf(image))


def test_an_animation_is_refused(shelf, tmp_path):
    frames = [Image.new("L", (4, 4), value) for value in (0, 99)]
    folder = shelf(frames[0], "0.gif")
    frames[0].save(folder / "a" / "0.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="holds 2 frames"):
        formats.read_image_folder(folder)


def test_what_systems_leave_behind_is_no_class_and_no_image(shelf):
    folder = shelf(Image.new("RGB", (4, 4)))
    for name in (".git", "__MACOSX", "@eaDir"):
        (folder / name).mkdir()
        (folder / name / "x.png").write_bytes(b"")
    (folder / "a" / "._0.png").write_bytes(b"resource fork")
    (folder / "a" / ".thumbs").mkdir()
    (folder / "a" / ".thumbs" / "0.png").write_bytes(b"")
    assert formats.read_image_folder(folder)[2] == ("a", "b")
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="empty must hold images of its class"):
        formats.read_image_folder(folder)
