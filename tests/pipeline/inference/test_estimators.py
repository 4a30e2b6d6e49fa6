"""The estimators follow scikit-learn's conventions, and give what the stages give."""

import pickle

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from cache.errors import ParamsError, RecordError
from pipeline.features.featurizer import Featurizer
from pipeline.inference.estimators import HeadEstimator, ImageFeaturizer, read_defaults

TINY = {"backbone": "efficientnet:0.25x0.2/2", "weights": "random", "size": 32}
EXPECTED_FAILURES = {
    "check_methods_subset_invariance": "float32 products of another shape differ in their last bits",
    "check_methods_sample_order_invariance": "float32 products of another order differ in their last bits",
}


def blobs(count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    features, labels = make_blobs(count, 8, centers=3, random_state=0)
    return features, np.array(["ant", "bee", "cow"])[labels]


def coloured(count: int = 24) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.arange(count) % 2
    grain = random.integers(0, 60, (count, 32, 32, 3))
    colours = np.array([[180, 20, 20], [20, 20, 180]])[labels][:, None, None, :]
    return (grain + colours).astype(np.uint8), labels


def test_the_head_passes_scikit_learns_own_checks() -> None:
    results = check_estimator(HeadEstimator(epochs=3), expected_failed_checks=EXPECTED_FAILURES, on_skip=None)
    assert len(results) > 30
    assert [result["check_name"] for result in results if result["status"] == "failed"] == []


def test_cross_validation_and_a_grid_search_take_the_head() -> None:
    features, labels = blobs()
    assert cross_val_score(HeadEstimator(epochs=5), features, labels, cv=3).mean() > 0.95
    search = GridSearchCV(HeadEstimator(epochs=3), {"lr": np.array([1e-6, 0.01]), "hidden": [[], [16]]}, cv=2)
    assert search.fit(features, labels).best_params_["lr"] == 0.01


def test_a_pipeline_goes_from_images_to_classes() -> None:
    images, labels = coloured()
    pipeline = make_pipeline(ImageFeaturizer(**TINY), HeadEstimator(epochs=8, hidden=[]))
    assert cross_val_score(pipeline, images, labels, cv=2).mean() > 0.9
    fitted = clone(pipeline).fit(images, labels)
    probabilities = fitted.predict_proba(images)
    assert probabilities.shape == (24, 2) and fitted.predict(images).dtype == labels.dtype
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(images), probabilities)


def test_the_same_seed_gives_the_same_head_and_another_seed_another() -> None:
    features, labels = blobs()
    first, same, other = (
        HeadEstimator(hidden=[8], lr=0.01, weight_decay=0.01, epochs=2, random_state=seed).fit(features, labels)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.predict_proba(features), same.predict_proba(features))
    assert not np.array_equal(first.predict_proba(features), other.predict_proba(features))


def test_parameters_that_are_none_have_the_value_of_params_yaml() -> None:
    config = read_defaults("train_head", {"lr": None, "dropout": np.float64(0.25)}).train_head
    assert config.dropout == 0.25
    assert config.lr == read_defaults("train_head", {}).train_head.lr
    with pytest.raises(ParamsError, match=r"train_head\.dropout"):
        HeadEstimator(dropout=2.0).fit(*blobs())
    with pytest.raises(ParamsError, match=r"featurize\.backbone: unknown name"):
        ImageFeaturizer(backbone="resnet").fit(coloured()[0])


def test_features_are_those_of_the_stage() -> None:
    images, _ = coloured()
    config = read_defaults("featurize", TINY).featurize
    expected = Featurizer(config)(images, np.empty(len(images), dtype="S64"))
    np.testing.assert_array_equal(ImageFeaturizer(**TINY).transform(images), expected)
    as_pil = [Image.fromarray(image) for image in images]
    np.testing.assert_array_equal(ImageFeaturizer(**TINY).fit_transform(as_pil), expected)


def test_what_is_no_image_and_a_single_class_are_refused() -> None:
    with pytest.raises(RecordError, match="image has the wrong form"):
        ImageFeaturizer(**TINY).transform(np.zeros((2, 8, 8, 3)))
    features, labels = blobs()
    with pytest.raises(ValueError, match="at least two classes; found 1 class"):
        HeadEstimator().fit(features[labels == "ant"], labels[labels == "ant"])


def test_the_default_head_is_chosen_as_train_head_chooses() -> None:
    """With few rows in many dimensions a linear head does best, and its solution has no epochs."""
    features, labels = make_blobs(60, 100, centers=3, cluster_std=8.0, random_state=0)
    fitted = HeadEstimator().fit(features, labels)
    assert fitted.classifier_.head.widths == [100, 3]
    assert HeadEstimator(hidden=[16], lr=0.01, epochs=1).fit(features, labels).classifier_.head.widths == [100, 16, 3]
