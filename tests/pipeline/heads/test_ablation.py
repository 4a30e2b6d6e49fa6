"""What a variant is worth: signal helps, noise harms, and samples of another number are compared fairly."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clouds import CLASSES, clouds

from cache.records import FeatureSet
from pipeline.config.params import read_params
from pipeline.config.shared.variants import TOGETHER
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.ablation import VariantGain, ablate_schedule, variant_gains_csv
from pipeline.metrics.intervals import spread

ROOT = Path(__file__).resolve().parents[3]


def config(*phases: str) -> TrainHeadConfig:
    chosen = [
        "augment.variants=[spatial_1, spatial_2, color_1]",
        f"train_head.schedule=[{', '.join(phases)}]",
        "train_head.hidden=[]",
        "train_head.lr=0.01",
        "train_head.weight_decay=0.01",
        "train_head.batch=16",
        "gan.kind=wgan",
    ]
    section = read_params(ROOT / "params.yaml", chosen).train_head
    assert isinstance(section, TrainHeadConfig)
    return section


TRAIN = {"unaugmented": clouds(60), "color_1": clouds(60, "color_1", 2)}
VAL = {"unaugmented": clouds(300, seed=1)}


def gains_of(train: dict[str, FeatureSet], *phases: str) -> dict[str, VariantGain]:
    return {gain.variant: gain for gain in ablate_schedule(train, VAL, config(*phases), 2)}


def test_wrong_labels_harm_and_more_rows_do_not() -> None:
    train = TRAIN | {"spatial_1": clouds(60, "spatial_1", 4, mislabelled=True)}
    worth = gains_of(train, "spatial_1 x 6", "color_1 x 1")
    assert list(worth) == ["color_1", "spatial_1", TOGETHER]
    assert worth["spatial_1"].gain.mean < -0.1 and worth["color_1"].gain.mean > worth["spatial_1"].gain.mean
    assert worth["spatial_1"].by_class.mean() == pytest.approx(worth["spatial_1"].gain.mean)  # classes of equal size
    assert worth[TOGETHER].gain.count == 2


@pytest.mark.parametrize("samples", [7, 200])
def test_samples_of_a_gan_may_be_fewer_or_more_than_photos(samples: int) -> None:
    good, bad = (clouds(samples, "gan_1", 5, 3.0, mislabelled) for mislabelled in (False, True))
    same = np.array([b"f" * 60 + b"%04d" % number for number in range(samples)])
    gains = [
        gains_of({**TRAIN, "gan_1": replace(sampled, ids=same)}, "gan_1 x 40")["gan_1"].gain.mean
        for sampled in (good, bad)
    ]
    assert gains[1] < gains[0] - 0.1


@pytest.mark.parametrize(
    ("train", "val", "phases", "seeds"),
    [
        (TRAIN, VAL, ["unaugmented x 2"], 2),
        (TRAIN, VAL, ["color_1 x 2"], 0),
        (TRAIN, {}, ["color_1 x 2"], 2),
        ({}, VAL, ["color_1 x 2"], 2),
    ],
)
def test_where_it_cannot_be_told_nothing_is_trained(
    train: dict[str, Any], val: dict[str, Any], phases: list[str], seeds: int
) -> None:
    assert ablate_schedule(train, val, config(*phases), seeds) == []


def test_table_has_a_row_for_each_variant_and_class() -> None:
    text = variant_gains_csv([VariantGain("color_1", spread([0.01, 0.03]), np.array([0.5, -0.25, 0.0]))], CLASSES)
    assert text == (
        "variant,class,gain,deviation\ncolor_1,,0.02,0.014142\ncolor_1,ant,0.5,\ncolor_1,bee,-0.25,\ncolor_1,cow,0.0,\n"
    )
