"""Full models: they learn, what is kept is what val chose, and a kill changes no bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import coloured, recipe, settings
from torch import nn

from cache.errors import InputError, ParamsError, RecordError
from cache.reader import read_images
from cache.records import ImageSet
from cache.writer import write_images
from pipeline.config.recipe import Recipe, read_recipe, recipe_names
from pipeline.inference.classifier import ModelClassifier, make_model_classifier, save_classifier
from pipeline.inference.load import load_classifier
from pipeline.training import trainer as module
from pipeline.training.fit import ModelFit, fit_model
from pipeline.training.state import moving_average

SETS = {"train": coloured(48, 1), "val": coloured(30, 2)}


def fit(chosen: Recipe, val: bool = True, **changes: Any) -> ModelFit:
    sets = {"unaugmented": SETS["train"], "spatial_1": replace(SETS["train"], variant="spatial_1")}
    (trained,) = fit_model(sets, {"unaugmented": SETS["val"]} if val else {}, chosen, settings(**changes))
    return trained


def same_bits(left: ModelFit, other: ModelFit) -> bool:
    mine = left.network.state_dict()
    theirs = other.network.state_dict()
    return left.curves == other.curves and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_it_learns_and_keeps_what_val_finds_best() -> None:
    trained = fit(recipe(schedule=["unaugmented x 3", "spatial_1 x 2"]))
    assert [row["variant"] for row in trained.curves] == ["unaugmented"] * 3 + ["spatial_1"] * 2
    accuracies = [row["val_accuracy"] for row in trained.curves]
    assert trained.kept["val_accuracy"] == max(accuracies) > 0.9
    assert accuracies[trained.best_epoch - 1] == max(accuracies)
    assert trained.curves[-1]["train_loss"] < trained.curves[0]["train_loss"]
    assert 0 < trained.temperature < 10


def test_without_val_the_last_epoch_is_kept() -> None:
    trained = fit(recipe(), val=False)
    assert trained.best_epoch == 2 and trained.kept == {} and trained.temperature == 1.0
    assert all(torch.equal(trained.last[name], tensor) for name, tensor in trained.network.state_dict().items())


BUILT = [name for name in recipe_names() if read_recipe(name, {}).network.name != "backbone"]


@pytest.mark.parametrize("name", BUILT)
def test_every_recipe_takes_a_step_and_its_loss_falls_on_one_batch(name: str) -> None:
    """On a network as narrow as its kind allows; each network itself is in test_models."""
    narrow: dict[str, Any] = {
        "resnetv2": {"widths": [16, 32], "blocks": 1},
        "attention_resnet": {"widths": [8, 16], "blocks": [1, 1], "feedforward": 16},
        "wide_resnet": {"depth": 10, "width": 1},
        "resnet50": {"stem": "small"},
        "library": {},
    }
    chosen = read_recipe(name, {})
    tiny: dict[str, Any] = {"schedule": ["unaugmented x 3"], "batch": 12, "network": narrow[chosen.network.name]}
    if chosen.network.name in ("resnet50", "library"):
        tiny["network"] = {"name": "resnetv2", **narrow["resnetv2"]}
    chosen = read_recipe(name, {**tiny, "lr": 0.01, "warmup_epochs": 0, "swa": None})
    trained = next(fit_model({"unaugmented": coloured(12, 1)}, {}, chosen, settings()))
    assert all(np.isfinite(row["train_loss"]) for row in trained.curves)
    assert min(row["train_loss"] for row in trained.curves[1:]) < trained.curves[0]["train_loss"]


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema": 0.5},
        {"swa": {"start": 0.4, "lr": 0.05}, "schedule": ["unaugmented x 4"]},
        {
            "swa": {"start": 0.4, "lr": 0.05},
            "network": {"name": "wide_resnet", "depth": 10, "width": 1, "se": False, "dropout": 0.3},
        },
        {"adversary": {"steps": 1, "eps": 4, "step": 4, "norms": "separate"}},
        {"precision": "float16", "clip": 1.0},
        {"optimizer": "adamw", "lr": 0.01, "lr_schedule": "onecycle", "sampling": "balanced"},
        {"augmentation": {"cutmix": {"probability": 0.5, "alpha": 1.0}, "mixup": {"probability": 0.5, "alpha": 0.2}}},
        {"network": {"name": "wide_resnet", "depth": 10, "width": 1, "se": True, "dropout": 0.3}},
    ],
)
def test_a_killed_training_goes_on_bit_for_bit(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = recipe(**changes)
    monkeypatch.setenv("AUGCACHE_STORE", str(tmp_path / "quiet"))
    quiet = fit(chosen, checkpoint_seconds=0)
    monkeypatch.setenv("AUGCACHE_STORE", str(tmp_path / "killed"))
    seen = [0]
    whole = module.Trainer._take_step

    def dies(self: module.Trainer, *args: Any) -> None:
        seen[0] += 1
        if seen[0] == 6:  # in the last step of the second epoch, five of them kept
            raise Killed
        whole(self, *args)

    monkeypatch.setattr(module.Trainer, "_take_step", dies)
    with pytest.raises(Killed):
        fit(chosen, checkpoint_seconds=0)
    torch.manual_seed(123)  # what ran before must not matter
    assert same_bits(fit(chosen, checkpoint_seconds=0), quiet)
    steps = 3 * sum(phase.epochs for phase in chosen.schedule)
    assert seen[0] == 1 + steps  # no step twice


def test_swa_keeps_the_average_with_statistics_of_its_own() -> None:
    trained = fit(recipe(swa={"start": 0.5, "lr": 0.05}, schedule=["unaugmented x 4"]))
    plain = fit(recipe(schedule=["unaugmented x 4"]))
    assert trained.best_epoch == 4
    assert trained.curves[1]["lr"] == plain.curves[1]["lr"]
    assert trained.curves[3]["lr"] != plain.curves[3]["lr"]
    name = next(name for name in trained.last if name.endswith("running_mean"))
    assert not torch.equal(trained.last[name], trained.network.state_dict()[name])
    assert trained.kept["val_accuracy"] > 0.9


def test_ema_is_what_val_judges() -> None:
    trained = fit(recipe(ema=0.9, schedule=["unaugmented x 4"]))
    assert any(not torch.equal(trained.last[name], tensor) for name, tensor in trained.network.state_dict().items())


@pytest.mark.parametrize(("first", "last", "kept"), [(1, 0.97, 3), (0.5, 0.9, 3), (0.93, 0.9, 3), (1, 0.9, 1)])
def test_an_earlier_epoch_is_kept_only_if_it_was_clearly_better_on_val(
    first: float, last: float, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 30 images, one more that is right may be chance; three more of which none is wrong are not."""
    accuracies = iter([first, last, last])
    judged = lambda logits, labels: (1.0, next(accuracies))  # noqa: E731
    monkeypatch.setattr("pipeline.training.trainer.loss_and_accuracy", judged)
    assert fit(recipe(schedule=["unaugmented x 3"])).best_epoch == kept


def test_averages_follow_quickly_at_first_and_then_slowly() -> None:
    follow = moving_average(0.9)
    average = [torch.zeros(1)]
    follow(average, [torch.ones(1)], 0)
    assert float(average[0]) == pytest.approx(1 - 1 / 10)
    average = [torch.zeros(1)]
    follow(average, [torch.ones(1)], 10_000)
    assert float(average[0]) == pytest.approx(1 - 0.9)


def test_patience_stops_training() -> None:
    trained = fit(recipe(lr=1e-9, patience=1, schedule=["unaugmented x 9"]))
    assert len(trained.curves) < 9


def test_seeds_give_different_networks_and_the_same_seed_the_same() -> None:
    sets = {"unaugmented": SETS["train"]}
    val = {"unaugmented": SETS["val"]}
    three = list(fit_model(sets, val, recipe(), settings(seeds=3)))
    assert len({tuple(row["train_loss"] for row in fitted.curves) for fitted in three}) == 3
    (again,) = fit_model(sets, val, recipe(), settings(seed=1))
    assert same_bits(again, three[1])


def test_streamed_from_disk_it_learns_as_well(tmp_path: Path) -> None:
    stored = {}
    for split, images in SETS.items():
        write_images(tmp_path / f"{split}.h5", images)
        stored[split] = read_images(tmp_path / f"{split}.h5")
    chosen = recipe(schedule=["unaugmented x 4"])
    sets = ({"unaugmented": stored["train"]}, {"unaugmented": stored["val"]})
    (trained,) = fit_model(*sets, chosen, settings(memory_gb=1e-6))
    assert trained.kept["val_accuracy"] > 0.9


def test_adversarial_training_with_norms_of_its_own_leaves_one_network() -> None:
    trained = fit(recipe(adversary={"steps": 2, "eps": 4, "step": 2, "norms": "separate"}))
    assert sum(isinstance(part, nn.BatchNorm2d) for part in trained.network.modules()) == 4


def test_inputs_are_brought_to_the_recipes_size() -> None:
    trained = fit(recipe(size=8))
    assert trained.size == 8 and trained.describe("x")["size"] == 8


@pytest.mark.parametrize(
    ("train", "val", "error", "reason"),
    [
        ({}, {}, InputError, "schedule names a variant that is not there; expected none, found unaugmented"),
        ({"unaugmented": coloured(1, 1)}, {}, InputError, "too few images"),
        ({"unaugmented": coloured(9, 1)}, {"unaugmented": coloured(9, 1)}, RecordError, "are in both train and val"),
        (
            {"unaugmented": coloured(9, 1)},
            {"unaugmented": replace(coloured(9, 2), classes=("a", "b", "c"))},
            RecordError,
            "differ in classes",
        ),
        ({"unaugmented": coloured(9, 1)}, {"unaugmented": coloured(9, 2, size=8)}, RecordError, "differ in size"),
        (
            {"unaugmented": coloured(9, 1), "spatial_1": coloured(9, 2, "spatial_1")},
            {"unaugmented": coloured(9, 2)},
            RecordError,
            "variants hold different images",
        ),
    ],
)
def test_sets_that_do_not_belong_together_are_refused(
    train: dict[str, ImageSet], val: dict[str, ImageSet], error: type[Exception], reason: str
) -> None:
    chosen = recipe(schedule=["spatial_1 x 1"] if "spatial_1" in train else ["unaugmented x 1"])
    with pytest.raises(error, match=reason):
        list(fit_model(train, val, chosen, settings()))


def test_samples_of_a_gan_hide_no_leak_and_val_variants_out_of_the_schedule_do_not_matter() -> None:
    samples = replace(coloured(6, 7), variant="gan_1")
    chosen = recipe(schedule=["gan_1 x 1", "unaugmented x 1"])
    with pytest.raises(RecordError, match="are in both train and val"):
        list(
            fit_model(
                {"gan_1": samples, "unaugmented": coloured(9, 1)}, {"unaugmented": coloured(9, 1)}, chosen, settings()
            )
        )
    val = {"unaugmented": coloured(9, 2), "spatial_1": coloured(9, 2, "spatial_1", size=8)}
    (trained,) = fit_model({"gan_1": samples, "unaugmented": coloured(40, 1)}, val, chosen, settings())
    assert [row["variant"] for row in trained.curves] == ["gan_1", "unaugmented"]


@pytest.mark.parametrize(("images", "batch", "steps"), [(33, 16, 3), (20, 16, 2), (16, 16, 1), (7, 16, 1)])
def test_few_images_are_left_over_whatever_the_batch(
    images: int, batch: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    whole = module.Trainer._take_step

    def counts(self: module.Trainer, training: Any, rows: torch.Tensor, labels: torch.Tensor) -> None:
        seen.append(len(rows))
        whole(self, training, rows, labels)

    monkeypatch.setattr(module.Trainer, "_take_step", counts)
    chosen = recipe(batch=batch, schedule=["unaugmented x 1"], swa={"start": 0, "lr": 0.05})
    list(fit_model({"unaugmented": coloured(images, 1)}, {}, chosen, settings()))
    assert seen == [images // steps] * steps and images - sum(seen) < steps


def test_how_a_set_is_streamed_is_part_of_the_checkpoints_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUGCACHE_STORE", str(tmp_path))
    for memory in (1.0, 1e-6):
        list(fit_model({"unaugmented": SETS["train"]}, {}, recipe(), settings(memory_gb=memory)))
    assert len(list((tmp_path / "checkpoints" / "training").glob("*.pt"))) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"network": {"name": "library", "model": "torchvision:vit_b_16", "stem": "imagenet"}}, "cannot take images"),
        ({"network": {"name": "library", "model": "torchvision:googlenet", "stem": "imagenet"}, "size": 64}, "logits"),
        (
            {
                "network": {"name": "resnet50", "norm": "layer", "activation": "gelu", "spp": False, "stem": "small"},
                "adversary": {"steps": 1, "eps": 1, "step": 1, "norms": "separate"},
            },
            "batch norms",
        ),
    ],
)
def test_networks_that_cannot_be_trained_so_are_refused_before_work(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ParamsError, match=reason):
        fit(recipe(**changes))


def test_averaging_twice_is_refused() -> None:
    for more in ({"patience": 2}, {"ema": 0.9}):
        with pytest.raises(ParamsError, match="swa goes neither with ema nor with patience"):
            recipe(swa={"start": 0.5, "lr": 0.05}, **more)


def test_a_loss_that_is_not_finite_stops_training() -> None:
    with pytest.raises(InputError, match=r"diverged.*Lower the recipe's lr"):
        fit(recipe(lr=1e30))


def test_a_network_beyond_its_limit_is_refused() -> None:
    with pytest.raises(
        ParamsError, match=r"too many parameters; expected at most 100 \(parameter_limit\), found 19,635"
    ):
        fit(recipe(parameter_limit=100))


def test_a_saved_model_predicts_the_same(tmp_path: Path) -> None:
    chosen = recipe()
    fitted = fit(chosen)
    made_by = fitted.describe("plain")
    classifier = make_model_classifier(fitted.network, SETS["train"].classes, made_by, fitted.temperature)
    save_classifier(tmp_path, classifier)
    trained = load_classifier(tmp_path)
    expected = classifier.predict(SETS["val"])
    assert isinstance(trained, ModelClassifier) and trained.recipe == classifier.recipe
    assert np.array_equal(trained.predict(SETS["val"]).probabilities, expected.probabilities)
    assert expected.correct.mean() > 0.9
    with pytest.raises(RecordError, match="other classes"):
        trained.predict(replace(SETS["val"], classes=("a", "b", "c")))
