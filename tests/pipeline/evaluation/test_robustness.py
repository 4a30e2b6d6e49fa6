"""Attacks go through the very network that made the cached features, and succeed as they must."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rounding import FLOAT16

from cache.errors import ParamsError, RecordError
from cache.records import FeatureSet, ImageSet
from pipeline.config.evaluate import EvaluateConfig
from pipeline.config.params import Params, read_params
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.evaluation.robustness import CLEAN, RobustnessSample, make_robustness_sample, pixels_of
from pipeline.features.backbone import make_backbone
from pipeline.features.featurizer import Featurizer
from pipeline.heads.fit import fit_head
from pipeline.inference.classifier import HeadClassifier
from pipeline.inference.compose import compose
from pipeline.metrics.predictions import Predictions

ROOT = Path(__file__).resolve().parents[3]
COLOURS = np.array([[190, 80, 80], [80, 190, 80], [80, 80, 190]])
ATTACKS = [
    "{eps: 1, steps: 1, restarts: 1}",
    "{eps: 8, steps: 1, restarts: 1}",
    "{eps: 8, steps: 10, restarts: 1}",
    "{eps: 8, steps: 10, restarts: 2}",
    "{eps: 60, steps: 60, restarts: 1}",
]


def params(*overrides: str) -> Params:
    base = ["featurize.backbone=efficientnet:0.25x0.2/2", "featurize.weights=random", "featurize.size=32"]
    chosen = [*base, "featurize.device=cpu", "featurize.batch=16", f"evaluate.attacks=[{', '.join(ATTACKS)}]"]
    return read_params(ROOT / "params.yaml", [*chosen, *overrides])


def coloured(count: int, seed: int) -> ImageSet:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = np.clip(COLOURS[labels][:, None, None] + random.normal(0, 8, (count, 32, 32, 3)), 0, 255)
    ids = np.array([b"%064x" % (1000 * seed + number) for number in range(count)])
    return ImageSet(images.astype(np.uint8), labels, ids, ("red", "green", "blue"))


def featurized(images: ImageSet, config: FeaturizeConfig) -> FeatureSet:
    featurizer = Featurizer(config)
    features = featurizer(images.images[:], images.keys())
    identity = (images.labels, images.ids, images.classes, images.variant)
    return FeatureSet(features, *identity, config.backbone, featurizer.recipe)


@pytest.fixture(scope="module")
def trained() -> tuple[HeadClassifier, ImageSet, FeatureSet]:
    chosen = params("train_head.schedule=[unaugmented x 30]", "train_head.hidden=[]", "train_head.lr=0.002")
    train = featurized(coloured(240, 1), chosen.featurize)
    test = featurized(coloured(90, 2), chosen.featurize)
    fit = fit_head({"unaugmented": train}, {}, chosen.train_head)
    return HeadClassifier(fit.head, train.classes, train.recipe), coloured(90, 2), test


Trained = tuple[HeadClassifier, ImageSet, FeatureSet]


def sample(trained: Trained, count: int = 60) -> RobustnessSample:
    classifier, images, features = trained
    return make_robustness_sample(pixels_of(classifier, params().featurize, images, features), images, count)


def test_accuracy_falls_with_eps_steps_and_restarts_to_nothing(trained: Trained) -> None:
    predictions = list(sample(trained).attacked(params().evaluate.attacks))
    names = [CLEAN, "fgsm_eps_1", "fgsm_eps_8", "pgd_10_eps_8", "pgd_10_eps_8_restarts_2", "pgd_60_eps_60"]
    assert [rows.variant for rows in predictions] == names and {len(rows) for rows in predictions} == {60}
    accuracy = {rows.variant: rows.correct.mean() for rows in predictions}
    assert accuracy["clean"] > 0.9
    assert accuracy["clean"] >= accuracy["fgsm_eps_1"] >= accuracy["fgsm_eps_8"] >= accuracy["pgd_10_eps_8"]
    assert accuracy["pgd_10_eps_8"] >= accuracy["pgd_10_eps_8_restarts_2"]
    assert accuracy["pgd_60_eps_60"] < 0.05


def test_clean_predictions_are_those_of_the_cached_features(trained: Trained) -> None:
    classifier, images, features = trained
    (clean,) = sample(trained).attacked([])
    rows = [images.ids.tolist().index(image_id) for image_id in clean.ids.tolist()]
    cached = classifier.predict(features.take(np.array(rows)))
    # Features are cached in float16: half a unit of each, and as much again for the float32 of the network.
    reach = classifier.head.layers[1].weight / classifier.head.deviation
    logits = FLOAT16 * torch.from_numpy(features.features[:]).float().abs() @ reach.abs().T
    # Where logits move by m, a probability p moves by 2 m p (1 - p) at most.
    np.testing.assert_allclose(clean.probabilities, cached.probabilities, rtol=0, atol=float(logits.detach().max()) / 2)
    assert np.array_equal(clean.labels, cached.labels)


def test_twice_gives_the_same_bytes(trained: Trained) -> None:
    chosen = params().evaluate

    def run() -> list[Predictions]:
        seen = sample(trained, 20)
        return [*seen.attacked(chosen.attacks[:3]), *seen.corrupted(chosen.corruptions, [3])]

    for first, second in zip(run(), run(), strict=True):
        assert first.probabilities.tobytes() == second.probabilities.tobytes()


def test_another_backbone_than_that_of_the_features_is_refused(trained: Trained) -> None:
    classifier, images, features = trained
    other = replace(features, features=features.features[:][:, ::-1].copy())
    with pytest.raises(RecordError, match=r"does not give the cached features.*Run featurize again"):
        sample((classifier, images, other))
    with pytest.raises(RecordError, match="different rows"):
        sample((classifier, images.take(np.arange(10)), features))


def test_corruptions_are_named_by_severity_and_the_harsh_ones_cost_accuracy(trained: Trained) -> None:
    predictions = list(sample(trained).corrupted(["contrast", "impulse_noise"], [1, 5]))
    assert [rows.variant for rows in predictions] == [
        CLEAN,
        "contrast_1",
        "contrast_5",
        "impulse_noise_1",
        "impulse_noise_5",
    ]
    accuracy = {rows.variant: rows.correct.mean() for rows in predictions}
    assert accuracy["clean"] > 0.9 > accuracy["impulse_noise_5"]


def test_the_temperature_is_part_of_the_attacked_classifier(trained: Trained) -> None:
    classifier, *sets = trained
    (warm,) = sample((replace(classifier, temperature=3.0), *sets)).attacked([])
    (plain,) = sample(trained).attacked([])
    assert np.array_equal(warm.predicted, plain.predicted)
    assert warm.probabilities.max(axis=1).mean() < plain.probabilities.max(axis=1).mean()


def test_the_classifier_itself_stays_where_it_is(trained: Trained) -> None:
    """On a GPU the attacked network lies there, while cached features are predicted here."""
    seen = sample(trained).predict
    mine = seen.network.get_submodule("1").state_dict()
    theirs = trained[0].head.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert all(mine[name].data_ptr() != theirs[name].data_ptr() for name in theirs)


def test_gradients_reach_the_pixels(trained: Trained) -> None:
    featurize = params().featurize
    predict = compose(make_backbone(*featurize.backbone_arguments), featurize, trained[0])
    pixels = (torch.rand(2, 3, 20, 20) * 255).requires_grad_()
    predict(pixels).sum().backward()
    assert pixels.grad is not None and bool((pixels.grad != 0).any())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("[{eps: 0, steps: 1, restarts: 1}]", "greater than 0"),
        ("[{eps: 1, restarts: 1}]", r"evaluate\.attacks\.0\.steps: key is missing"),
        (
            "[{eps: 1, steps: 1, restarts: 1, size: 3}]",
            r"evaluate\.attacks\.0: unknown name; expected one of eps, steps, restarts, found 'size'",
        ),
    ],
)
def test_bad_attacks_are_refused(value: str, reason: str) -> None:
    with pytest.raises(ParamsError, match=reason):
        params(f"evaluate.attacks={value}")


def test_an_unknown_corruption_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ParamsError, match=r"evaluate\.corruptions.*gaussian_noise.*found 'snow'"):
        params("evaluate.corruptions=[snow]")


def test_names_say_what_an_attack_does() -> None:
    config = params("evaluate.attacks=[{eps: 0.5, steps: 20, restarts: 3}]").evaluate
    assert isinstance(config, EvaluateConfig)
    assert config.attacks[0].name == "pgd_20_eps_0_5_restarts_3"
