"""The chosen head: never far below a tuned logistic regression, exact where values are named, repeatable."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from clouds import clouds
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from cache.records import FeatureSet
from pipeline.config.params import read_params
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads import choose
from pipeline.heads.blend import blended, fit_blend, fit_family_blend
from pipeline.heads.choose import Choice, choose_head, is_open, trained_grid
from pipeline.heads.discriminant import discriminant_path, scatter_of
from pipeline.heads.evidence import plan_evidence
from pipeline.heads.fit import fit_head
from pipeline.heads.logistic import LinearWeights
from pipeline.heads.sets import at_most

ROOT = Path(__file__).resolve().parents[3]
SHORT = "schedule=[unaugmented x 4, turn_1 x 4]"


def config(*overrides: str) -> TrainHeadConfig:
    chosen = [f"train_head.{override}" for override in (SHORT, "device=cpu", *overrides)]
    variants = ["augment.policies.turn=[Fliplr: {p: 1.0}]", "augment.variants=[turn_1]", "gan.kind=wgan"]
    return read_params(ROOT / "params.yaml", [*variants, *chosen]).train_head


def rings(count: int, variant: str = "unaugmented", seed: int = 0) -> FeatureSet:
    """Classes by their distance from the middle: no linear head can tell them apart."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    directions = random.normal(0, 1, (count, 4))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rows = (directions * (1 + 2 * labels[:, None])).astype(np.float16)
    return replace(clouds(count, variant, seed), features=rows)


CLOUDS = {"unaugmented": clouds(150), "turn_1": clouds(150, "turn_1", 2)}
RINGS = {"unaugmented": rings(600), "turn_1": rings(600, "turn_1", 2)}


def accuracy(choice: Choice, features: FeatureSet) -> float:
    with torch.inference_mode():
        predicted = choice.fit.head(torch.from_numpy(features.features[:]).float()).argmax(dim=1)
    return float((predicted.numpy() == features.labels).mean())


def test_a_linear_problem_gets_a_linear_head() -> None:
    choice = choose_head(CLOUDS, {"unaugmented": clouds(60, seed=1)}, config())
    assert choice.fit.best_epoch == 0 and choice.evidence == "5-fold cross-validation"
    assert len(list(choice.fit.head.parameters())) == 2
    assert len(choice.fit.curves) == 8  # of the best head that was trained


def test_a_problem_that_is_not_linear_gets_a_hidden_layer() -> None:
    choice = choose_head(RINGS, {}, config("schedule=[unaugmented x 20, turn_1 x 4]"))
    assert choice.fit.best_epoch > 0 and choice.accuracy["trained"] > choice.accuracy["linear"] + 0.1
    assert accuracy(choice, rings(300, seed=5)) > 0.8


def test_as_many_images_are_compared_as_memory_allows_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    width = CLOUDS["unaugmented"].features.shape[1]
    classes = len(CLOUDS["unaugmented"].classes)
    monkeypatch.setattr(choose, "MOST_BYTES", 90 * 4 * (3 * width + 6 * classes))
    choice = choose_head(CLOUDS, {}, config())
    assert choice.evidence == "5-fold cross-validation over 90 of 150 images"
    choice = choose_head(RINGS, {}, config("schedule=[unaugmented x 20, turn_1 x 4]"))
    assert choice.fit.best_epoch > 0 and "of 600 images" in choice.evidence
    assert accuracy(choice, rings(300, seed=5)) > 0.8  # of all 600: the head is trained on every image


def test_fewer_images_keep_their_classes_shares_and_their_siblings() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    plain = replace(clouds(1000), labels=labels)
    sets = {"unaugmented": plain, "turn_1": replace(clouds(1000, "turn_1", 2), labels=labels), "gan_1": clouds(20)}
    smaller = at_most(sets, 200, seed=0)
    assert np.bincount(smaller["unaugmented"].labels).tolist() == [120, 60, 20]
    assert np.array_equal(smaller["unaugmented"].ids, smaller["turn_1"].ids)
    assert len(set(smaller["unaugmented"].ids)) == 200 and len(smaller["gan_1"]) == 20
    places = {image: place for place, image in enumerate(plain.ids)}
    for row, image in enumerate(smaller["unaugmented"].ids):
        assert np.array_equal(smaller["unaugmented"].features[row], plain.features[places[image]])
    assert not np.array_equal(at_most(sets, 200, seed=1)["unaugmented"].ids, smaller["unaugmented"].ids)


def test_what_is_named_is_what_is_trained() -> None:
    named = config("hidden=[8]", "lr=0.02", "weight_decay=0.1")
    assert not is_open(named)
    choice = choose_head(CLOUDS, {}, named)
    alone = fit_head(CLOUDS, {}, named)
    assert choice.evidence == "" and choice.linear == []
    for ours, theirs in zip(choice.fit.head.parameters(), alone.head.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("overrides", "hiddens", "rates"),
    [
        (["hidden=[8]"], {(8,)}, {0.0025, 0.01}),
        (["lr=0.02"], {(), (512,)}, {0.02}),
        (["hidden=[8, 8]", "lr=0.02"], {(8, 8)}, {0.02}),
    ],
)
def test_named_values_stay_in_every_candidate(
    overrides: list[str], hiddens: set[tuple[int, ...]], rates: set[float]
) -> None:
    specs = trained_grid(config(*overrides), 16)
    assert {spec.hidden for spec in specs} == hiddens
    assert {spec.lr for spec in specs} == rates


def test_evidence_follows_val_and_the_budget() -> None:
    train = {"unaugmented": clouds(300), "turn_1": clouds(300, "turn_1", 2)}
    big = {"unaugmented": clouds(1200, seed=1)}
    by_val = plan_evidence(train, big, config())
    by_folds = plan_evidence(train, {}, config())
    frugal = plan_evidence(train, {}, config("budget=0.000001"))
    assert by_val is not None and by_val.description == "val"
    assert by_folds is not None and by_folds.count == 5
    assert frugal is not None and frugal.count == 3
    assert {family.augmented for family in by_folds.families} == {True, False}
    assert [(family.method, family.augmented) for family in frugal.families] == [("logistic regression", False)]
    single = {"unaugmented": clouds(3)}
    assert plan_evidence(single, {}, config("schedule=[unaugmented x 1]")) is None


def test_the_same_choice_twice_is_the_same_to_the_bit() -> None:
    once, again = (choose_head(CLOUDS, {}, config()) for _ in range(2))
    assert torch.equal(next(once.fit.head.parameters()), next(again.fit.head.parameters()))
    assert once.linear == again.linear


def test_a_blend_prefers_what_is_right_and_is_calibrated() -> None:
    random = np.random.default_rng(0)
    labels = torch.from_numpy(np.arange(300) % 3)
    useful = torch.nn.functional.one_hot(labels, 3) + torch.from_numpy(random.normal(0, 0.8, (300, 3)))
    noise = torch.from_numpy(random.normal(0, 1, (300, 3)))
    shares = fit_blend([useful.float(), noise.float()], labels)
    assert shares[0] > 10 * max(shares[1], 1e-3)
    loss = torch.nn.functional.cross_entropy(shares[0] * useful + shares[1] * noise, labels)
    for factor in (0.9, 1.1):
        scaled = factor * (shares[0] * useful + shares[1] * noise)
        assert loss <= torch.nn.functional.cross_entropy(scaled, labels) + 1e-6


def test_a_blend_of_linear_heads_is_a_linear_head() -> None:
    heads = [LinearWeights(torch.randn(4, 3), torch.randn(3)) for _ in range(2)]
    rows = torch.randn(5, 4)
    mixed = blended(heads, [0.3, 2.0])
    expected = sum(share * (rows @ head.weight + head.bias) for share, head in zip([0.3, 2.0], heads, strict=True))
    torch.testing.assert_close(rows @ mixed.weight + mixed.bias, expected)


@pytest.mark.parametrize("shrinkage", [0.5, 0.05])
def test_discriminant_analysis_is_scikit_learn_s(shrinkage: float) -> None:
    features = CLOUDS["unaugmented"]
    rows = torch.from_numpy(features.features[:]).float()
    scatter = scatter_of(rows, torch.from_numpy(features.labels), 3)
    (ours,) = discriminant_path(scatter, [shrinkage], rows.shape[1])
    peer = LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage).fit(rows.double().numpy(), features.labels)
    probabilities = torch.softmax(rows @ ours.weight + ours.bias, dim=1).numpy()
    # scikit-learn shrinks each class's covariance by its own mean variance and then averages: the same for equal counts
    np.testing.assert_allclose(probabilities, peer.predict_proba(rows.double().numpy()), atol=1e-3)


def test_a_family_sends_its_best_head_into_the_blend_and_the_blend_is_calibrated() -> None:
    random = np.random.default_rng(0)
    labels = torch.from_numpy(np.arange(300) % 3)
    right = torch.nn.functional.one_hot(labels, 3).float()
    noisy = [right + torch.from_numpy(random.normal(0, noise, (300, 3))).float() for noise in (2.0, 0.6, 0.8)]
    weights = fit_family_blend([noisy[0], 10 * noisy[1], noisy[2]], labels, ["a", "a", "b"])
    assert weights[0] == 0 and weights[1] > 0 and weights[2] > 0
    blend = sum(weight * values for weight, values in zip(weights, [noisy[0], 10 * noisy[1], noisy[2]], strict=True))
    loss = torch.nn.functional.cross_entropy(blend, labels)
    for factor in (0.9, 1.1):
        assert (
            loss <= torch.nn.functional.cross_entropy(factor * blend, labels) + 1e-4
        )  # what a temperature is fitted to


def test_rows_that_are_alike_within_their_classes_leave_a_covariance_that_can_be_inverted():
    generator = torch.Generator().manual_seed(0)
    centres = 30 * torch.randn(10, 1280, generator=generator)
    labels = torch.arange(10).repeat(4)
    whole = scatter_of(centres[labels], labels, 10)
    rest = whole - scatter_of(centres[labels[:10]], labels[:10], 10)  # a covariance of zeros but for rounding
    weights = next(discriminant_path(rest, [0.01], 1280))
    assert torch.equal((centres @ weights.weight + weights.bias).argmax(dim=1), torch.arange(10))
