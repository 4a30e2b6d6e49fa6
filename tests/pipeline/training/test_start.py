"""Fine-tuning: from the backbone and the trained head, over variants mixed within the epoch."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from models import coloured, settings

from cache.errors import ParamsError
from cache.records import FeatureSet, ImageSet
from pipeline.config.params import read_params
from pipeline.config.recipe import Recipe, read_recipe
from pipeline.features.featurizer import Featurizer
from pipeline.heads.fit import fit_head
from pipeline.inference.classifier import ModelClassifier, make_model_classifier, save_classifier
from pipeline.inference.load import load_classifier
from pipeline.training import trainer as module
from pipeline.training.fit import ModelFit, fit_model
from pipeline.training.start import Start, start_from_head

ROOT = Path(__file__).resolve().parents[3]
SMALL = ("featurize.backbone=efficientnet:0.25x0.2/1", "featurize.weights=random", "featurize.size=16")
PARAMS = read_params(
    ROOT / "params.yaml",
    [*SMALL, "featurize.batch=16", "featurize.device=cpu", "train_head.schedule=[unaugmented x 6]"],
)
TRAIN = coloured(60, 1, size=16)
VAL = coloured(30, 2, size=16)
VARIANTS = {"unaugmented": TRAIN, "spatial_1": replace(TRAIN, variant="spatial_1")}


@pytest.fixture(scope="module")
def start() -> Callable[[], Start]:
    """Makes the backbone with a head over it that was trained on its features."""
    featurizer = Featurizer(PARAMS.featurize)
    features = FeatureSet(
        featurizer(TRAIN.images, TRAIN.ids), TRAIN.labels, TRAIN.ids, TRAIN.classes, TRAIN.variant, "tiny", {}
    )
    head = fit_head({"unaugmented": features}, {}, PARAMS.train_head).head
    return lambda: start_from_head(head, PARAMS.featurize)


def recipe(*schedule: str, **changes: object) -> Recipe:
    return read_recipe("finetune", {"schedule": list(schedule), "batch": 12, **changes})


def fine_tune(start: Start, chosen: Recipe, **changes: object) -> ModelFit:
    return next(fit_model(VARIANTS, {"unaugmented": VAL}, chosen, settings(**changes), start=start))


def test_it_starts_from_the_heads_answers(start: Callable[[], Start]) -> None:
    """At a rate of nearly nothing it says what the head says of the backbone's features."""
    fit = fine_tune(start(), recipe("unaugmented x 1", lr=1e-12))
    begin = start()
    inputs = torch.rand(5, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        answers = deepcopy(begin.network).eval().double()(inputs)  # a copy: others share the backbone
        torch.testing.assert_close(deepcopy(fit.network).double()(inputs), answers)
    assert fit.mean == pytest.approx([255 * value for value in begin.mean])


def test_the_heads_answers_can_be_toned_down(start: Callable[[], Start]) -> None:
    fit = fine_tune(start(), recipe("unaugmented x 1", lr=1e-12, head_scale=0.3))
    begin = start()
    inputs = torch.rand(5, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        answers = deepcopy(begin.network).eval().double()(inputs)
        torch.testing.assert_close(deepcopy(fit.network).double()(inputs), 0.3 * answers, rtol=1e-6, atol=1e-6)


def test_it_learns_from_variants_mixed_within_the_epoch(start: Callable[[], Start]) -> None:
    fit = fine_tune(start(), recipe("all x 4", lr=0.0003))
    assert [row["variant"] for row in fit.curves] == ["unaugmented | spatial_1"] * 4
    assert fit.curves[-1]["train_loss"] < fit.curves[0]["train_loss"]


def test_frozen_norms_keep_their_statistics_and_trained_ones_do_not(start: Callable[[], Start]) -> None:
    before = start().network.state_dict()
    for norms, kept in (("frozen", True), ("trained", False)):
        after = fine_tune(start(), recipe("unaugmented x 1", norms=norms, ema=0)).network.state_dict()
        means = [name for name in before if name.endswith("running_mean")]
        assert all(torch.equal(before[name], after[name]) for name in means) == kept


def test_a_killed_fine_tuning_ends_with_the_same_bits(
    start: Callable[[], Start], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = recipe("all x 2", lr=0.001)
    monkeypatch.setenv("AUGCACHE_STORE", str(tmp_path / "quiet"))
    quiet = fine_tune(start(), chosen, checkpoint_seconds=0)
    monkeypatch.setenv("AUGCACHE_STORE", str(tmp_path / "killed"))
    whole = module.Trainer._take_step
    steps = iter(range(100))

    def dies(self: module.Trainer, *arguments: object) -> None:
        if next(steps) == 7:
            raise KeyboardInterrupt
        whole(self, *arguments)

    monkeypatch.setattr(module.Trainer, "_take_step", dies)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(start(), chosen, checkpoint_seconds=0)
    monkeypatch.setattr(module.Trainer, "_take_step", whole)
    again = fine_tune(start(), chosen, checkpoint_seconds=0)
    assert again.curves == quiet.curves
    assert all(torch.equal(again.last[name], tensor) for name, tensor in quiet.last.items())


def test_other_weights_are_another_training(start: Callable[[], Start]) -> None:
    first = fine_tune(start(), recipe("unaugmented x 1"))
    other = start()
    with torch.no_grad():
        next(other.network.parameters()).mul_(1.5)
    second = fine_tune(other, recipe("unaugmented x 1"))
    assert any(not torch.equal(first.last[name], second.last[name]) for name in first.last)


def test_it_is_saved_and_loaded_as_any_full_model(start: Callable[[], Start], tmp_path: Path) -> None:
    chosen = recipe("unaugmented x 1")
    fit = fine_tune(start(), chosen)
    classifier = make_model_classifier(fit.network, TRAIN.classes, fit.describe("finetune"), fit.temperature)
    save_classifier(tmp_path, classifier)
    loaded = load_classifier(tmp_path)
    assert isinstance(loaded, ModelClassifier)
    np.testing.assert_array_equal(loaded.predict(VAL).probabilities, classifier.predict(VAL).probabilities)


def test_a_recipe_of_a_backbone_needs_one_and_others_take_none(start: Callable[[], Start]) -> None:
    with pytest.raises(ParamsError, match="starts from another"):
        fine_tune(None, recipe("unaugmented x 1"))  # type: ignore[arg-type]
    with pytest.raises(ParamsError, match="starts from another"):
        fine_tune(start(), read_recipe("plain", {"schedule": ["unaugmented x 1"]}))


def other(variant: str, value: int) -> ImageSet:
    """The training photos with every pixel of one value."""
    return replace(TRAIN, images=np.full_like(TRAIN.images, value), variant=variant)


@pytest.mark.parametrize("memory", [1e9, 1.0], ids=["resident", "streamed"])
def test_a_photo_shows_every_variant_in_as_many_epochs(memory: float) -> None:
    rows = module.ImageBatches([other("a_1", 10), other("b_1", 20), other("c_1", 30)], torch.device("cpu"), memory)
    seen = np.zeros((len(TRAIN), 3), dtype=int)
    for epoch in range(3):
        order = rows.order(np.random.default_rng(epoch), balanced=False, epoch=epoch)
        values = torch.cat([images[:, 0, 0, 0] for images, _ in rows.batches(order, 7)])
        labels = torch.cat([labels for _, labels in rows.batches(order, 7)])
        photo = order % len(TRAIN)
        assert sorted(photo) == list(range(len(TRAIN)))
        np.testing.assert_array_equal(labels.numpy(), TRAIN.labels[photo])
        seen[photo, values.numpy() // 10 - 1] += 1
    assert (seen == 1).all()
