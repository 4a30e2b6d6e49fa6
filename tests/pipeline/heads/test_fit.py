"""The head: learns, obeys its schedule, picks its best epoch on val-unaugmented, repeats to the bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from clouds import CLASSES, RECIPE, clouds
from rounding import by_adam
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cache.errors import DamagedFile, InputError, RecordError, StorageError
from cache.records import FeatureSet
from pipeline.config.params import read_params
from pipeline.config.shared.schedule import Phase, epochs_of
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.fit import fit_head
from pipeline.heads.optim import lr_factors
from pipeline.heads.sets import fit_standardizer, in_memory
from pipeline.heads.stack_trainer import head_precision
from pipeline.inference.classifier import HeadClassifier, save_classifier
from pipeline.inference.load import load_classifier
from pipeline.networks.head import Head
from pipeline.runtime.seeds import derived_seed, torch_seeded

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def config() -> TrainHeadConfig:
    overrides = ["device=cpu", "precision=float32", "hidden=[32]", "batch=32", "lr=0.01", "weight_decay=0.01"]
    overrides.append("schedule=[unaugmented x 3, spatial_1 x 2]")
    variants = "augment.variants=[spatial_1, color_1]"
    section = read_params(
        ROOT / "params.yaml", [variants, *(f"train_head.{override}" for override in overrides)]
    ).train_head
    assert isinstance(section, TrainHeadConfig)
    return section


@pytest.fixture
def train() -> dict[str, FeatureSet]:
    return {"unaugmented": clouds(300, noise=1.0), "spatial_1": clouds(300, "spatial_1", noise=2.0)}


def test_a_head_learns_clouds_that_are_apart(config: TrainHeadConfig, train: dict[str, FeatureSet]) -> None:
    fit = fit_head(train, {"unaugmented": clouds(300, seed=1, noise=1.0)}, config)
    assert fit.curves[fit.best_epoch - 1]["val_accuracy"] > 0.97


@pytest.mark.parametrize("hidden", [[], [32]])
def test_it_does_what_a_plain_torch_loop_does(
    config: TrainHeadConfig, train: dict[str, FeatureSet], hidden: list[int]
) -> None:
    """torch's own layers, loss and AdamW over the same order of rows; the average of the weights is kept."""
    config = config.model_copy(update={"hidden": hidden, "dropout": 0.0})
    fit = fit_head(train, {}, config)
    rows = {name: torch.from_numpy(features.features[:]).float() for name, features in train.items()}
    with torch_seeded("train_head", config.seed):
        head = Head([16, *hidden, 3], 0.0, 0.0)
    head.mean.copy_(fit.head.mean)
    head.deviation.copy_(fit.head.deviation)
    averaged = AveragedModel(head, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
    optimizer = torch.optim.AdamW(head.parameters(), 0.01, weight_decay=0.01)
    order = torch.Generator().manual_seed(derived_seed("order", config.seed) % 2**63)
    steps = lr_factors(config.lr_schedule, 5 * 10)
    for variant in epochs_of(config.schedule):
        for index in torch.randperm(300, generator=order).split(config.batch):
            logits = head(rows[variant][index])
            labels = torch.from_numpy(train[variant].labels)[index]
            loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
            factor, momentum = next(steps)
            optimizer.param_groups[0].update(lr=0.01 * factor, betas=(momentum, 0.999))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            averaged.update_parameters(head)
    weights = sum(parameter.numel() for parameter in head.parameters())
    rounding = by_adam(0.01, config.batch, weights, steps=50)
    for ours, theirs in zip(fit.head.parameters(), averaged.module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=rounding)


def test_half_precision_learns_the_same_classes_and_keeps_its_weights_whole(
    config: TrainHeadConfig, train: dict[str, FeatureSet]
) -> None:
    whole, half = (
        fit_head(train, {}, config.model_copy(update={"precision": precision})).head
        for precision in ("float32", "bfloat16")
    )
    assert all(tensor.dtype == torch.float32 for tensor in half.state_dict().values())
    assert not torch.equal(whole.layers[1].weight, half.layers[1].weight)
    rows = torch.from_numpy(train["unaugmented"].features[:]).float()
    margins = whole(rows).topk(2).values.diff().abs().squeeze()
    sure = margins > margins.median()  # rounding to 8 bits moves only rows near a border
    assert torch.equal(whole(rows)[sure].argmax(dim=1), half(rows)[sure].argmax(dim=1))


@pytest.mark.parametrize(
    ("gpu", "native", "chosen"), [(True, True, "float32"), (False, True, "bfloat16"), (False, False, "float32")]
)
def test_auto_is_bfloat16_where_the_processor_has_it_and_leaves_a_gpu_in_tf32(
    gpu: bool, native: bool, chosen: str, config: TrainHeadConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    assert head_precision(config.model_copy(update={"precision": "auto", "device": "auto"})) == chosen
    assert head_precision(config) == "float32"


def test_statistics_are_those_of_all_rows() -> None:
    rows = in_memory(clouds(9000, noise=1.0))  # more than one block
    standardizer = fit_standardizer(rows)
    torch.testing.assert_close(standardizer.mean, rows.features.float().mean(dim=0))
    torch.testing.assert_close(standardizer.scale, rows.features.float().std(dim=0), rtol=1e-3, atol=0)  # one row more


def test_epochs_follow_the_schedule(config: TrainHeadConfig, train: dict[str, FeatureSet]) -> None:
    fit = fit_head(train, {}, config)
    assert [row["variant"] for row in fit.curves] == ["unaugmented"] * 3 + ["spatial_1"] * 2
    assert [row["epoch"] for row in fit.curves] == [1, 2, 3, 4, 5]
    assert list(epochs_of([Phase("a", 1), Phase("b", 2)])) == ["a", "b", "b"]


def test_the_same_seed_gives_the_same_bits(config: TrainHeadConfig, train: dict[str, FeatureSet]) -> None:
    torch.manual_seed(1)
    first = fit_head(train, {}, config)
    torch.manual_seed(2)
    second = fit_head(train, {}, config)
    other = fit_head(train, {}, config.model_copy(update={"seed": 1}))
    for key, value in first.head.state_dict().items():
        assert torch.equal(value, second.head.state_dict()[key])
    assert first.curves == second.curves
    assert not torch.equal(first.head.layers[1].weight, other.head.layers[1].weight)


def test_the_kept_weights_are_those_of_the_best_epoch_on_val(
    config: TrainHeadConfig, train: dict[str, FeatureSet]
) -> None:
    val = clouds(300, seed=1)
    fit = fit_head(train, {"unaugmented": val}, config)
    accuracies = [row["val_accuracy"] for row in fit.curves]
    assert accuracies[fit.best_epoch - 1] == max(accuracies)
    predicted = HeadClassifier(fit.head, CLASSES, RECIPE).predict(val).probabilities.argmax(axis=1)
    assert (predicted == val.labels).mean() == pytest.approx(max(accuracies))


def test_without_val_the_last_epoch_is_kept(config: TrainHeadConfig, train: dict[str, FeatureSet]) -> None:
    assert fit_head(train, {}, config).best_epoch == 5


def test_augmented_val_is_a_curve_and_decides_nothing(config: TrainHeadConfig, train: dict[str, FeatureSet]) -> None:
    val = {"unaugmented": clouds(90, seed=1, noise=1.0)}
    alone = fit_head(train, val, config)
    sibling = replace(clouds(90, "spatial_1", 2, 9.0), ids=val["unaugmented"].ids)
    both = fit_head(train, {**val, "spatial_1": sibling}, config)
    assert both.best_epoch == alone.best_epoch
    assert all("val_accuracy_spatial_1" in row for row in both.curves)


def test_means_are_over_examples_not_over_batches(config: TrainHeadConfig, train: dict[str, FeatureSet]) -> None:
    """33 rows in batches of 32: the last batch has one row and must weigh one row."""
    few = {"unaugmented": clouds(33, noise=1.0)}
    once = config.model_copy(
        update={"schedule": [Phase("unaugmented", 1)], "lr": 1e-9, "dropout": 0, "input_dropout": 0}
    )
    others = replace(few["unaugmented"], ids=clouds(33, seed=1, noise=1.0).ids)
    fit = fit_head(few, {"unaugmented": others}, once)
    assert fit.curves[0]["train_accuracy"] == pytest.approx(fit.curves[0]["val_accuracy"], abs=1e-6)
    assert fit.curves[0]["train_accuracy"] * 33 == pytest.approx(round(fit.curves[0]["train_accuracy"] * 33))


def test_a_linear_head_has_no_hidden_layer(config: TrainHeadConfig, train: dict[str, FeatureSet]) -> None:
    fit = fit_head(train, {}, config.model_copy(update={"hidden": []}))
    assert [tuple(value.shape) for value in fit.head.parameters()] == [(3, 16), (3,)]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("lr_schedule", ["constant", "cosine", "onecycle"])
def test_every_optimizer_and_schedule_lowers_the_loss(
    config: TrainHeadConfig, train: dict[str, FeatureSet], optimizer: str, lr_schedule: str
) -> None:
    chosen = config.model_copy(update={"optimizer": optimizer, "lr_schedule": lr_schedule, "label_smoothing": 0.0})
    curves = fit_head({"unaugmented": train["unaugmented"], "spatial_1": train["unaugmented"]}, {}, chosen).curves
    assert curves[-1]["train_loss"] < curves[0]["train_loss"]
    if lr_schedule == "constant":
        assert {row["lr"] for row in curves} == {0.01}


def test_a_variant_that_is_not_there_is_refused(config: TrainHeadConfig, train: dict[str, FeatureSet]) -> None:
    with pytest.raises(InputError, match="expected unaugmented, found spatial_1"):
        fit_head({"unaugmented": train["unaugmented"]}, {}, config)


def test_features_of_two_backbones_are_refused(config: TrainHeadConfig, train: dict[str, FeatureSet]) -> None:
    other = clouds(300, "spatial_1", noise=1.0)
    other = FeatureSet(
        other.features, other.labels, other.ids, CLASSES, "spatial_1", "b0", {**RECIPE, "backbone": "b0"}
    )
    with pytest.raises(RecordError, match="differ in recipe"):
        fit_head({**train, "spatial_1": other}, {}, config)


def test_divergence_is_refused_with_its_remedy(config: TrainHeadConfig, train: dict[str, FeatureSet]) -> None:
    wild = config.model_copy(update={"optimizer": "sgd", "lr": 1e30, "lr_schedule": "constant"})
    with pytest.raises(InputError, match=r"Lower train_head\.lr"):
        fit_head(train, {}, wild)


@pytest.fixture
def saved(tmp_path: Path, config: TrainHeadConfig, train: dict[str, FeatureSet]) -> Path:
    fit = fit_head(train, {}, config)
    save_classifier(tmp_path / "saved", HeadClassifier(fit.head, CLASSES, RECIPE))
    return tmp_path / "saved"


def test_a_saved_classifier_predicts_the_same(
    saved: Path, config: TrainHeadConfig, train: dict[str, FeatureSet]
) -> None:
    fit = fit_head(train, {}, config)
    features = clouds(30, seed=3, noise=1.0)
    expected = HeadClassifier(fit.head, CLASSES, RECIPE).predict(features)
    assert np.array_equal(load_classifier(saved).predict(features).probabilities, expected.probabilities)


def test_a_missing_or_damaged_classifier_is_one_clear_line(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Run train_head"):
        load_classifier(tmp_path / "nowhere")
    weights = saved / "head.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(DamagedFile, match="classifier cannot be read"):
        load_classifier(saved)
    (saved / "classifier.json").write_text("{}")
    with pytest.raises(DamagedFile, match="classifier cannot be read"):
        load_classifier(saved)


def test_features_of_another_backbone_or_of_other_classes_are_refused(saved: Path) -> None:
    classifier = load_classifier(saved)
    features = clouds(6, noise=1.0)
    identity = features.labels, features.ids
    other = FeatureSet(features.features, *identity, CLASSES, "unaugmented", "mini", {**RECIPE, "weights": "cd"})
    with pytest.raises(RecordError, match="expected ab, found cd"):
        classifier.predict(other)
    renamed = FeatureSet(features.features, *identity, ("x", "y", "z"), "unaugmented", "mini", RECIPE)
    with pytest.raises(RecordError, match="other classes"):
        classifier.predict(renamed)
