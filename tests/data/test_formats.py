"""Parsers, on small files in the real formats, whole and broken."""

import bz2
import gzip

import numpy as np
import pytest

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
    with pytest.raises(ValueError, match="damaged archive"):
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
