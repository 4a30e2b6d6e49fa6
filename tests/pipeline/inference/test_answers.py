"""Answers come from the store if the image is known, and are the same bytes either way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import noise, tiny_bundle
from rounding import of_sums

from pipeline.inference.answers import Answerer
from pipeline.inference.bundle import Bundle


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return tiny_bundle()


def test_only_new_images_are_computed_and_rows_do_not_depend_on_company(bundle: Bundle) -> None:
    images = noise(40, 32)
    first = Answerer(bundle)(images[:30])
    assert first.computed == 30
    grown = Answerer(bundle)(images[::-1])
    assert grown.computed == 10
    assert np.array_equal(grown.probabilities[::-1][:30], first.probabilities)
    assert np.array_equal(grown.features[::-1][:30], first.features)
    again = Answerer(bundle)(images)
    assert again.computed == 0
    assert np.array_equal(again.probabilities, grown.probabilities[::-1])


def test_answers_are_those_of_the_bundle(bundle: Bundle) -> None:
    images = noise(5, 32)
    answers = Answerer(bundle)(images)
    assert np.array_equal(answers.probabilities, bundle.predict(images))
    assert answers.features.shape[0] == 5 and answers.probabilities.sum(axis=1) == pytest.approx(
        np.ones(5), abs=of_sums(8)
    )
    flipped = Answerer(bundle, ("flip",))(images)
    assert flipped.computed == 5  # other views are other answers
    np.testing.assert_allclose(flipped.probabilities, bundle.predict(images, ("flip",)), atol=of_sums(8))


def test_the_same_image_twice_is_computed_once(bundle: Bundle) -> None:
    images = noise(2, 32)[[0, 1, 0]]
    answers = Answerer(bundle)(images)
    assert answers.computed == 2
    assert np.array_equal(answers.probabilities[0], answers.probabilities[2])


def test_another_classifier_has_other_answers(bundle: Bundle) -> None:
    images = noise(3, 32)
    Answerer(bundle)(images)
    warmer = replace(
        bundle, classifier=replace(bundle.classifier, head=replace(bundle.classifier.head, temperature=2.0))
    )
    assert Answerer(warmer)(images).computed == 3


def test_without_a_store_answers_are_computed_all_the_same(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AUGCACHE_STORE", str(tmp_path / "file"))
    images = noise(4, 32)
    answers = Answerer(bundle)(images[[0, 1, 0]])
    assert np.array_equal(answers.probabilities, bundle.predict(images[[0, 1, 0]]))


def test_nothing_is_nothing(bundle: Bundle) -> None:
    assert Answerer(bundle)(noise(4, 32)[:0]).probabilities.shape == (0, 3)
