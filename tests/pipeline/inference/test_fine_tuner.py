"""Fine-tuning by scikit-learn's conventions."""

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone

from cache.errors import ParamsError
from pipeline.inference.classifier import ModelClassifier
from pipeline.inference.fine_tuner import FineTuner

TINY = {"backbone": "efficientnet:0.25x0.2/2", "weights": "random", "size": 32, "device": "cpu"}
LABELS = np.array(["red", "blue"])[np.arange(24) % 2]


@pytest.fixture
def images() -> np.ndarray:
    random = np.random.default_rng(0)
    grain = random.integers(0, 60, (24, 32, 32, 3))
    colours = np.where((LABELS == "red")[:, None], [180, 20, 20], [20, 20, 180])[:, None, None, :]
    return (grain + colours).astype(np.uint8)


def test_it_learns_from_images_and_their_variants(images: np.ndarray) -> None:
    tuner = FineTuner(**TINY, schedule=["all x 1"], variants=["mild_1"], val=0.0)
    fitted = clone(tuner).fit(images, LABELS)
    assert isinstance(fitted.classifier_, ModelClassifier)
    assert fitted.classes_.tolist() == ["blue", "red"]
    assert fitted.score(images, LABELS) > 0.9
    as_pil = [Image.fromarray(image) for image in images[:3]]
    np.testing.assert_array_equal(fitted.predict_proba(as_pil), fitted.predict_proba(images[:3]))


def test_wrong_values_and_a_single_class_are_refused(images: np.ndarray) -> None:
    with pytest.raises(ParamsError, match="twist"):
        FineTuner(**TINY, variants=["twist_1"]).fit(images, LABELS)
    with pytest.raises(ValueError, match="at least two classes"):
        FineTuner(**TINY).fit(images, np.full(24, "red"))
