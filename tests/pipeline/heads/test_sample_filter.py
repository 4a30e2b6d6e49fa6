"""Fréchet distance by its formula; copies and collapse show; only samples that convince a head are kept."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rounding import FLOAT32, FLOAT64
from scipy.linalg import sqrtm

from cache.errors import InputError
from cache.records import FeatureSet
from pipeline.config.params import read_params
from pipeline.config.shared.schedule import Phase
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.fit import fit_head
from pipeline.heads.sample_filter import keep_convincing
from pipeline.metrics.sample_quality import frechet, measure_samples

ROOT = Path(__file__).resolve().parents[3]


def features(count: int, seed: int, variant: str = "unaugmented", noise: float = 1.0) -> FeatureSet:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    rows = np.eye(3, 6)[labels] * 6 + random.normal(0, noise, (count, 6))
    ids = np.array([b"%064x" % (1000 * seed + number) for number in range(count)])
    return FeatureSet(rows.astype(np.float32), labels, ids, ("a", "b", "c"), variant, "mini", {"backbone": "mini"})


def config(**changes: Any) -> TrainHeadConfig:
    section = read_params(ROOT / "params.yaml", ["train_head.schedule=[unaugmented x 5]"]).train_head
    assert isinstance(section, TrainHeadConfig)
    return section.model_copy(update=changes)


def test_the_frechet_distance_is_that_of_two_gaussians() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(0, 1, (500, 4))
    other = random.normal(1, 2, (400, 4)) @ random.normal(0, 1, (4, 4))
    first = np.cov(rows, rowvar=False)
    second = np.cov(other, rowvar=False)
    root = sqrtm(first @ second).real
    expected = ((rows.mean(0) - other.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)
    # A matrix's square root has half the digits of float64, relative to the traces.
    rounding = FLOAT64**0.5 * (np.trace(first) + np.trace(second))
    assert frechet(rows, other) == pytest.approx(expected, abs=rounding)
    assert frechet(rows, rows) == pytest.approx(0, abs=rounding)
    assert frechet(rows + 3, rows) == pytest.approx(36, abs=rounding)


def test_copies_show_and_real_images_are_the_measure() -> None:
    train = features(90, 1)
    val = features(90, 2)
    good = measure_samples(features(60, 3, "gan_1"), train, val, 0.999)
    copies = measure_samples(replace(train, variant="gan_1"), train, val, 0.999)
    poor = measure_samples(features(60, 4, "gan_1", noise=5.0), train, val, 0.999)
    assert copies["copies"] == 1.0 and copies["nearest"] == pytest.approx(1)
    assert copies["frechet_train"] < FLOAT32**0.5 * 6  # six standardised features in float32
    assert good["copies"] < 0.1 and good["frechet_val"] < 3 * good["frechet_real"]
    assert poor["frechet_train"] > 5 * good["frechet_train"] and poor["nearest"] < good["nearest"]
    assert set(measure_samples(features(60, 3, "gan_1"), train, None, 0.9)) == {"frechet_train", "nearest", "copies"}


def test_samples_that_do_not_convince_a_head_are_dropped() -> None:
    train = features(90, 1)
    val = features(30, 2)
    samples = features(30, 3, "gan_1")
    wrong = replace(samples, labels=np.where(np.arange(30) < 12, (samples.labels + 1) % 3, samples.labels))
    sets = {"unaugmented": train, "gan_1": wrong}
    schedule = read_params(ROOT / "params.yaml", [
        "train_head.schedule=[unaugmented x 5, gan_1 x 1]", "gan.kind=conv", "train_head.gan_filter=0.5",
    ]).train_head  # fmt: skip
    assert isinstance(schedule, TrainHeadConfig)
    kept, dropped = keep_convincing(sets, {"unaugmented": val}, schedule)
    assert dropped == 12 and kept["gan_1"].ids.tolist() == wrong.ids[12:].tolist()
    assert kept["unaugmented"] is train
    assert len(fit_head(kept, {"unaugmented": val}, schedule).curves) == 6


def test_a_filter_that_leaves_nothing_says_so() -> None:
    samples = features(9, 3, "gan_1")
    wrong = replace(samples, labels=(samples.labels + 1) % 3)
    schedule = [Phase("unaugmented", 5), Phase("gan_1", 1)]
    chosen = config(schedule=schedule, gan_filter=0.9)
    with pytest.raises(InputError, match=r"gan_1: no GAN sample convinces a head. Lower train_head.gan_filter"):
        keep_convincing({"unaugmented": features(90, 1), "gan_1": wrong}, {}, chosen)


def test_without_a_filter_or_samples_nothing_is_dropped() -> None:
    sets = {"unaugmented": features(30, 1), "gan_1": features(9, 2, "gan_1")}
    assert keep_convincing(sets, {}, config(gan_filter=0.5)) == (sets, 0)
    assert keep_convincing(sets, {}, config(gan_filter=0.0)) == (sets, 0)
