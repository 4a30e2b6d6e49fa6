"""Heads over features of several layers: the ones that tell are used, and the head is one over all features."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cache.records import FeatureSet
from pipeline.config.params import read_params
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.choose import Choice, choose_head
from pipeline.heads.families import Family, FamilySolver
from pipeline.heads.groups import feature_spaces, narrowed, widened
from pipeline.heads.logistic import LinearWeights
from pipeline.heads.sets import Rows, Standardizer
from pipeline.networks.head import Head

ROOT = Path(__file__).resolve().parents[3]
CLASSES = ("ant", "bee", "cow")
GROUPS = [["last", 6], ["blocks.0", 4], ["blocks.1", 20]]
RECIPE = {"backbone": "mini", "layers": "all", "groups": GROUPS}


def layered(count: int, told_by: slice, seed: int = 0, variant: str = "unaugmented") -> FeatureSet:
    """Features of three layers, of which only some columns know the class."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    rows = random.normal(0, 1, (count, 30))
    centres = np.random.default_rng(42).normal(0, 2, (3, 30))
    rows[:, told_by] += centres[labels][:, told_by]
    ids = np.array([b"%064x" % (10**6 * seed + number) for number in range(count)])
    return FeatureSet(rows.astype(np.float32), labels, ids, CLASSES, variant, "mini", RECIPE)


def config(*overrides: str) -> TrainHeadConfig:
    chosen = [f"train_head.{override}" for override in ("schedule=[unaugmented x 4]", "device=cpu", *overrides)]
    return read_params(ROOT / "params.yaml", chosen).train_head


def shares(choice: Choice) -> dict[str, float]:
    totals = {"last layer": 0.0, "all layers": 0.0}
    for candidate in choice.linear:
        totals[candidate.features] += candidate.share
    return totals


def accuracy(head: Head, features: FeatureSet) -> float:
    with torch.inference_mode():
        predicted = head(torch.from_numpy(features.features)).argmax(dim=1)
    return float((predicted.numpy() == features.labels).mean())


def test_inner_layers_are_used_if_they_tell_more() -> None:
    told_by = slice(6, 10)
    choice = choose_head({"unaugmented": layered(120, told_by)}, {}, config())
    test = layered(300, told_by, seed=1)
    assert shares(choice)["all layers"] > 0 and accuracy(choice.fit.head, test) > 0.8
    assert choice.last_layer is not None
    assert accuracy(choice.last_layer, narrowed(test)) < 0.5  # the last layer alone knows nothing


def test_the_last_layer_decides_alone_if_the_others_are_noise() -> None:
    told_by = slice(0, 6)
    train = layered(120, told_by)
    test = layered(600, told_by, seed=1)
    with_noise = choose_head({"unaugmented": train}, {}, config())
    without = choose_head({"unaugmented": narrowed(train)}, {}, config())
    # 600 images: two standard errors of the difference of two heads of 95 % that are wrong on other images
    assert accuracy(with_noise.fit.head, test) > accuracy(without.fit.head, narrowed(test)) - 0.025


def test_the_head_of_the_last_layer_is_the_one_that_its_features_alone_give() -> None:
    train = layered(120, slice(0, 6))
    test = narrowed(layered(300, slice(0, 6), seed=1))
    both = choose_head({"unaugmented": train}, {}, config())
    alone = choose_head({"unaugmented": narrowed(train)}, {}, config())
    assert both.last_layer is not None and alone.last_layer is None
    rows = torch.from_numpy(test.features)
    # what a feature is divided by leans towards the median of all that are there, so the two differ by a hair
    agree = both.last_layer(rows).argmax(dim=1) == alone.fit.head(rows).argmax(dim=1)
    assert float(agree.double().mean()) > 0.98


def test_a_trained_head_over_the_last_layer_is_one_over_all_features() -> None:
    random = np.random.default_rng(3)
    labels = np.arange(600) % 3
    directions = random.normal(0, 1, (600, 6))
    rings = directions / np.linalg.norm(directions, axis=1, keepdims=True) * (1 + 2 * labels[:, None])
    rows = np.concatenate([rings, random.normal(0, 1, (600, 24))], axis=1).astype(np.float32)
    train = replace(layered(600, slice(0, 6)), features=rows, labels=labels)
    choice = choose_head({"unaugmented": train}, {}, config("schedule=[unaugmented x 24]"))
    assert choice.fit.best_epoch > 0 and choice.fit.head.widths == [30, 512, 3]
    assert choice.last_layer is not None and choice.last_layer.widths == [6, 512, 3]
    assert accuracy(choice.fit.head, train) == accuracy(choice.last_layer, narrowed(train)) > 0.8


def test_each_group_has_the_same_total_variance() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (5000, 30))).float()
    _, everything = feature_spaces(RECIPE, 30)
    scaled = everything(rows)
    totals = [float(part.var(dim=0).sum()) for part in scaled.split([6, 4, 20], dim=1)]
    # a sum of w variances of 5,000 rows is off by 10 * sqrt(2 / 5000 / w) = 0.1 on average for w = 4; six times that
    assert totals == pytest.approx([10, 10, 10], abs=0.6)


def test_a_restored_head_gives_the_logits_of_its_selection() -> None:
    rows = torch.randn(7, 30)
    for space in feature_spaces(RECIPE, 30):
        own = LinearWeights(torch.randn(len(space.columns), 3), torch.randn(3))
        whole = space.restore(own, 30)
        torch.testing.assert_close(rows @ whole.weight + whole.bias, space(rows) @ own.weight + own.bias)


def test_a_widened_head_gives_the_logits_of_the_narrow_one() -> None:
    narrow = Head([6, 5, 3], 0.0, 0.0).eval()
    standardizer = Standardizer(torch.randn(30), torch.rand(30) + 0.5)
    narrow.mean.copy_(standardizer.mean[:6])
    narrow.deviation.copy_(standardizer.scale[:6])
    wide = widened(narrow, torch.arange(6), standardizer)
    rows = torch.randn(9, 30)
    torch.testing.assert_close(wide(rows), narrow(rows[:, :6].clone()))


@pytest.mark.parametrize("method", ["logistic regression", "discriminant analysis"])
def test_a_fold_is_solved_as_if_its_images_and_their_siblings_were_not_there(method: str) -> None:
    sets = {name: _rows(layered(90, slice(0, 10), seed)) for name, seed in (("unaugmented", 0), ("turn_1", 1))}
    sets["gan_1"] = _rows(layered(12, slice(0, 10), 2))  # other images: always taken whole
    (space, _) = feature_spaces(RECIPE, 30)
    left_out = torch.arange(90) < 30
    family = Family(method, space.name, augmented=True)
    (ours,) = FamilySolver(sets, space, True, 3).solve(family.method, family.values[2:3], left_out)
    rest = {name: Rows(own.features[30:], own.labels[30:]) for name, own in sets.items() if name != "gan_1"}
    (alone,) = FamilySolver(rest | {"gan_1": sets["gan_1"]}, space, True, 3).solve(method, family.values[2:3])
    unseen = space(sets["unaugmented"].features[:30])
    expected = torch.softmax(unseen @ alone.weight + alone.bias, dim=1)
    # logistic regression is solved to 1e-4 of the objective, whose root bounds how far probabilities may be apart
    torch.testing.assert_close(torch.softmax(unseen @ ours.weight + ours.bias, dim=1), expected, rtol=0, atol=0.01)


def _rows(features: FeatureSet) -> Rows:
    return Rows(torch.from_numpy(features.features), torch.from_numpy(features.labels))
