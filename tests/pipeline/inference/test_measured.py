"""What is measured of a classifier on a project's images, with and without features of them, and in a bundle."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import CLASSES, noise, tiny_bundle

from cache.errors import DamagedFile
from cache.layout import hex_keys, row_digests
from cache.records import FeatureSet, ImageSet
from pipeline.inference.answers import Answerer
from pipeline.inference.bundle import Bundle, load_bundle, save_bundle
from pipeline.inference.known import fit_known_classes
from pipeline.inference.measured import FILE, MOST_TRAIN, Measured, OwnImages, measure, read_measured
from pipeline.inference.restore import FeaturizedHead
from pipeline.runtime.progress import silent


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return tiny_bundle()


def images(count: int) -> ImageSet:
    pixels = noise(count, 32)
    return ImageSet(pixels, np.arange(count) % 3, hex_keys(row_digests(pixels)), CLASSES, "unaugmented")


def featurized(bundle: Bundle, images: ImageSet) -> OwnImages:
    classifier = bundle.classifier
    assert isinstance(classifier, FeaturizedHead)
    features = classifier.featurizer(images.images, images.ids)
    identity = (images.labels, images.ids, CLASSES, "unaugmented")
    return OwnImages(images, FeatureSet(features, *identity, "tiny", classifier.featurizer.recipe))


def test_features_of_the_same_images_spare_the_network(bundle: Bundle) -> None:
    own = featurized(bundle, images(20))
    answers = own.answers(Answerer(bundle), np.arange(20))
    assert answers.computed == 0
    expected = OwnImages(own.images, None).answers(Answerer(bundle), np.arange(20))
    assert expected.computed == 20
    assert np.array_equal(answers.probabilities, expected.probabilities)
    assert np.array_equal(answers.features, expected.features)


@pytest.mark.parametrize("why", ["of other images", "by other means", "beside views"])
def test_features_that_do_not_fit_are_not_taken(bundle: Bundle, why: str) -> None:
    own = featurized(bundle, images(4))
    assert own.features is not None
    if why == "of other images":
        own = replace(own, images=replace(own.images, ids=images(8).ids[4:]))
    elif why == "by other means":
        own = replace(own, features=replace(own.features, recipe={}))
    answer = Answerer(bundle, ("flip",) if why == "beside views" else ())
    assert own.answers(answer, np.arange(4)).computed == 4


def test_val_is_measured_and_train_stands_for_the_classes(bundle: Bundle) -> None:
    train = OwnImages(images(12), None)
    val = OwnImages(images(6), None)
    measured = measure(Answerer(bundle), train, val, silent)
    assert measured is not None and measured.known is not None
    assert measured.labels.tolist() == [0, 1, 2, 0, 1, 2] and measured.probabilities.shape == (6, 3)
    without_val = measure(Answerer(bundle), train, None, silent)
    assert without_val is not None and without_val.known is not None
    assert (len(without_val.labels), without_val.probabilities.shape, without_val.error_above(0.5)) == (0, (0, 3), None)


def test_images_of_other_classes_or_sizes_measure_nothing(bundle: Bundle) -> None:
    of_others = replace(images(3), classes=("a", "b", "c"))
    pixels = noise(3, 16)
    smaller = replace(images(3), images=pixels)
    for own in (of_others, smaller):
        assert measure(Answerer(bundle), OwnImages(own, None), None, silent) is None


def test_few_rows_of_a_large_split_are_chosen_evenly() -> None:
    pixels = np.zeros((5000, 1, 1, 3), np.uint8)
    ids = np.array([b"%064x" % row for row in range(5000)])
    rows = OwnImages(ImageSet(pixels, np.arange(5000) % 3, ids, CLASSES, "unaugmented"), None).chosen_rows()
    assert len(rows) == MOST_TRAIN and (rows[0], rows[-1]) == (0, 4999) and set(np.diff(rows)) == {2, 3}


def test_what_was_measured_travels_with_a_bundle(bundle: Bundle, tmp_path: Path) -> None:
    images = noise(30, 32)
    answers = Answerer(bundle)(images)
    labels = np.arange(30) % 3
    measured = Measured(answers.probabilities, labels, fit_known_classes(answers.features, labels))
    save_bundle(tmp_path, bundle, None, {}, {FILE: measured.to_bytes(), "README.md": b"# card"})
    loaded = read_measured(tmp_path)
    assert loaded is not None and loaded.known is not None and measured.known is not None
    assert loaded.errors() == measured.errors()
    assert np.array_equal(loaded.known.scores(answers.features), measured.known.scores(answers.features))
    assert np.array_equal(load_bundle(tmp_path).predict(images), bundle.predict(images))
    (tmp_path / FILE).write_bytes(measured.to_bytes()[:-1])
    with pytest.raises(DamagedFile, match="checksum does not match"):
        read_measured(tmp_path)
    save_bundle(tmp_path, bundle, None, {})
    assert read_measured(tmp_path) is None
