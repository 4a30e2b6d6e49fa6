"""Views of an image are what their names say, and the image itself always comes first."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from bundles import noise, tiny_bundle

from cache.errors import InputError, ParamsError, RecordError
from cache.records import ImageSet
from pipeline.inference import tta
from pipeline.inference.tta import VIEWS, choose_views, mean_over_views, predict_over_views, views_of

IMAGES = noise(3, 40)


def test_the_image_itself_comes_first_and_every_view_has_its_form() -> None:
    views = list(views_of(IMAGES, list(VIEWS)))
    assert np.array_equal(views[0], IMAGES)
    assert len(views) == 1 + 1 + 5 + 2 + 2
    assert all(view.shape == IMAGES.shape and view.dtype == np.uint8 for view in views)
    assert all(not np.array_equal(view, IMAGES) for view in views[1:])


def test_a_flip_is_a_mirror_and_jitter_is_lighter_then_darker() -> None:
    _, flipped = views_of(IMAGES, ["flip"])
    assert np.array_equal(flipped, IMAGES[:, :, ::-1])
    _, lighter, darker = views_of(IMAGES, ["jitter"])
    assert darker.mean() < IMAGES.mean() < lighter.mean()


def test_crops_show_the_corners_larger() -> None:
    marked = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    marked[0, :8, :8] = 255
    _, *crops = views_of(marked, ["crops"])
    bright = [float(crop[0, :9, :9].mean()) for crop in crops]
    assert bright[0] > 240 and bright[3] < 10  # top left, bottom right


def test_an_unknown_view_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ParamsError, match="expected some of flip, crops, jitter, affine, found turn"):
        list(views_of(IMAGES, ["turn"]))


@dataclass(frozen=True)
class BrightLeft:
    """Says how bright the left half is beside the right one; a mirror image turns its answer round."""

    classes: tuple[str, ...] = ("left", "right")

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        half = images.shape[2] // 2
        left = images[:, :, :half].mean(axis=(1, 2, 3)) + 1
        right = images[:, :, half:].mean(axis=(1, 2, 3)) + 1
        share = (left / (left + right)).astype(np.float32)
        return np.stack([share, 1 - share], axis=1)


@dataclass(frozen=True)
class Unsure(BrightLeft):
    """Like BrightLeft for images whose mirror images it gets wrong by as much as it gets them right."""

    noise: float = 0.4

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        odd = images[:, 0, 0, 0] > images[:, 0, -1, 0]
        wrong = np.where(odd, self.noise, -self.noise).astype(np.float32)
        return np.stack([0.55 + wrong, 0.45 - wrong], axis=1)


def image_set(count: int, labels: list[int]) -> ImageSet:
    images = np.zeros((count, 32, 32, 3), dtype=np.uint8)
    for row, label in enumerate(labels):
        images[row, :, 16 * label : 16 * label + 16] = 200
        images[row, 0, -1 if row % 2 else 0] = 255
    ids = np.array([f"{row:064x}".encode() for row in range(count)])
    return ImageSet(images, np.array(labels), ids, ("left", "right"))


def test_views_that_cost_accuracy_on_val_are_not_chosen() -> None:
    """Digits, too, are other digits when they are mirrored."""
    assert "flip" not in choose_views(BrightLeft(), image_set(40, [0, 1] * 20))


def test_views_that_lower_the_loss_on_val_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tta, "CANDIDATES", ("flip",))
    assert choose_views(Unsure(), image_set(40, [0] * 40)) == ("flip",)


def test_the_same_views_are_averaged_for_a_set_and_for_an_array(monkeypatch: pytest.MonkeyPatch) -> None:
    images = image_set(7, [0, 1, 0, 1, 1, 1, 0])
    whole = mean_over_views(BrightLeft(), images.images[:], ["flip", "crops"])
    monkeypatch.setattr(tta, "ROWS", 3)
    counted: list[int] = []
    predictions = predict_over_views(BrightLeft(), images, ["flip", "crops"], counted.append)
    np.testing.assert_array_equal(predictions.probabilities, whole)
    assert counted == [3, 3, 1] and np.array_equal(predictions.ids, images.ids)
    flipped = predict_over_views(BrightLeft(), images, ["flip"])
    np.testing.assert_allclose(flipped.probabilities, 0.5, atol=np.finfo(np.float32).eps)
    assert predict_over_views(BrightLeft(), images.take(np.arange(0)), ["flip"]).probabilities.shape == (0, 2)


def test_sets_that_cannot_be_judged_on_are_refused() -> None:
    with pytest.raises(RecordError, match="images are of other classes"):
        choose_views(BrightLeft(("a", "b")), image_set(2, [0, 1]))
    with pytest.raises(InputError, match=r"views are chosen on validation images, and there are none"):
        choose_views(BrightLeft(), image_set(2, [0, 1]).take(np.arange(0)))


def test_a_head_over_its_backbone_and_a_full_model_share_the_function() -> None:
    bundle = tiny_bundle()
    images = noise(3, 32)
    labelled = replace(image_set(3, [0, 1, 1]), images=images, classes=bundle.classes)
    predictions = predict_over_views(bundle.classifier, labelled, ["flip"])
    np.testing.assert_array_equal(predictions.probabilities, bundle.predict(images, ["flip"]))
