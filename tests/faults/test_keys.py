"""Whatever decides a row's bytes is in its key; whatever does not is not. And bytes do not change by themselves."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rounding import FLOAT16
from safetensors.torch import load_file, save_file

import pipeline.augmentation.policy as policy_module
import pipeline.features.featurizer as featurize_module
from cache.layout import recipe_key
from pipeline.augmentation.policy import make_augmentation
from pipeline.config.augment import AugmentConfig
from pipeline.config.params import read_params
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.features.featurizer import Featurizer, device_kind

PARAMS = Path(__file__).parents[2] / "params.yaml"
GOLDEN = Path(__file__).parent / "golden"
PHOTOS = 36
BASE = (
    "featurize.backbone=efficientnet-mini",
    *(f"featurize.{value}" for value in ("size=32", "batch=16", "device=cpu", "weights=random", "engine=eager")),
)
POLICIES = ("spatial_1", "color_1", "auto_1", "rand_1")
ENGINES = {"fused": POLICIES[:2], "imgaug": POLICIES}
REMAKE = "If that is meant, raise CODE_VERSION and run make_golden of this file."


def feature_key(*more: str) -> str:
    config = read_params(PARAMS, [*BASE, *more]).featurize
    assert isinstance(config, FeaturizeConfig)
    return recipe_key(Featurizer(config).recipe)


def augment_key(variant: str = "color_1", *more: str) -> str:
    config = read_params(PARAMS, list(more)).augment
    assert isinstance(config, AugmentConfig)
    return recipe_key(make_augmentation(config, variant).recipe)


@pytest.mark.parametrize(
    "change",
    [
        "backbone=timm:mobilenetv3_small_050",
        "preprocessing=advprop",
        "size=48",
        "interpolation=bilinear",
        "engine=compile",
        "engine=onnx",
        "weights=advprop",
        "precision=bfloat16",
        "dtype=float32",
        "batch=32",
    ],
)
def test_each_setting_of_featurize_misses(change: str) -> None:
    assert feature_key(f"featurize.{change}") != feature_key()


def test_weights_miss_by_their_bytes_and_hit_under_another_name(tmp_path: Path) -> None:
    config = read_params(PARAMS, list(BASE)).featurize
    assert isinstance(config, FeaturizeConfig)
    network: Any = Featurizer(config).backbone.network
    tensors = {name: value.clone() for name, value in network.network.state_dict().items()}
    for path in (tmp_path / "a.safetensors", tmp_path / "b.safetensors"):
        save_file(tensors, path)
    first = next(name for name, value in tensors.items() if value.is_floating_point() and value.numel() > 1)
    tensors[first].view(-1)[0] = torch.nextafter(tensors[first].view(-1)[0], torch.tensor(9.0))
    save_file(tensors, tmp_path / "c.safetensors")
    assert set(load_file(tmp_path / "a.safetensors")) == set(tensors)
    keys = [
        feature_key(f"featurize.weights={tmp_path / name}.safetensors", "featurize.preprocessing=imagenet")
        for name in "abc"
    ]
    assert keys[0] == keys[1] == feature_key()  # the same tensors, wherever they come from
    assert keys[2] != keys[0]


def test_code_libraries_and_device_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {feature_key()}
    monkeypatch.setattr(featurize_module, "CODE_VERSION", 0)
    keys.add(feature_key())
    monkeypatch.setattr(featurize_module, "version", lambda name: "0.0")
    keys.add(feature_key())
    monkeypatch.setattr(featurize_module, "device_kind", lambda device: "cpu of another kind")
    keys.add(feature_key())
    assert len(keys) == 4


@pytest.mark.parametrize("same", ["featurize.rows_per_task=7", "featurize.workers=2", "featurize.scheduler=tcp://a:1"])
def test_how_rows_are_shared_out_is_not_in_the_key_of_features(same: str) -> None:
    assert feature_key(same) == feature_key()


@pytest.mark.parametrize("change", ["seed=1", "size=48", "engine=imgaug", "policies.color=[{Fliplr: {p: 0.5}}]"])
def test_each_setting_of_augment_misses(change: str) -> None:
    assert augment_key("color_1", f"augment.{change}") != augment_key("color_1")


def test_draw_policy_code_libraries_and_processor_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {augment_key("color_1"), augment_key("color_2"), augment_key("spatial_1")}
    monkeypatch.setattr(policy_module, "CODE_VERSION", 0)
    keys.add(augment_key("color_1"))
    monkeypatch.setattr(policy_module, "version", lambda name: "0.0")
    keys.add(augment_key("color_1"))
    monkeypatch.setattr(policy_module, "processor_kind", lambda: "another processor")
    keys.add(augment_key("color_1"))
    assert len(keys) == 6


@pytest.mark.parametrize(
    "same",
    [
        "augment.rows_per_task=7",
        "augment.workers=2",
        "augment.variants=[color_1]",
        "augment.keep=nothing",
        "augment.policies.spatial=[{Fliplr: {p: 1.0}}]",
    ],
)
def test_other_variants_and_how_rows_are_shared_out_are_not_in_the_key_of_one(same: str) -> None:
    more = (same, "train_head.schedule=[unaugmented x 1]")
    assert augment_key("color_1", *more) == augment_key("color_1")


def test_moved_folders_renamed_files_other_orders_and_tasks_hit(place: Any, reference: Any, tmp_path: Path) -> None:
    place.adopt(reference, "prepare", "augment", "featurize", store=True)
    moved = type(place)(
        tmp_path / "elsewhere" / "photos", tmp_path / "elsewhere" / "data", tmp_path / "elsewhere" / "store"
    )
    moved.photos.parent.mkdir()
    for before, after in ((place.photos, moved.photos), (place.data, moved.data), (place.store, moved.store)):
        shutil.move(before, after)
    for path in moved.photos.rglob("*.png"):
        path.rename(path.with_name(f"renamed {path.name}"))
    assert moved.run_all() == (0, 0)
    assert moved.contents("featurize") == reference.contents("featurize")
    assert moved.run_all("featurize.rows_per_task=64", "augment.rows_per_task=3", "augment.workers=2") == (0, 0)
    augmented, featurized = moved.run_all("prepare.seed=9")  # another order of the rows
    assert (augmented, featurized) == (0, 0)
    assert moved.contents("prepare") != reference.contents("prepare")


# Golden bytes


def fixed_images() -> np.ndarray:
    """uint8 [4, 32, 32, 3]: ramps and noise without a generator whose stream could change."""
    place = np.arange(4 * 32 * 32 * 3, dtype=np.uint64).reshape(4, 32, 32, 3)
    noise = (place * 2654435761 % 2**32) >> 24
    ramp = (place // 3 % 32) * 8
    return (np.where(np.arange(4)[:, None, None, None] % 2, noise, (noise + ramp) // 2) % 256).astype(np.uint8)


def fixed_features() -> np.ndarray:
    config = read_params(PARAMS, [*BASE, "featurize.dtype=float32"]).featurize
    assert isinstance(config, FeaturizeConfig)
    return Featurizer(config)(fixed_images(), np.empty(4, "S64"))


def fixed_augmented() -> np.ndarray:
    """Two images of every policy in each engine that runs it: uint8 [12, 32, 32, 3]."""
    ids = np.array([b"0" * 64, b"1" * 64])
    augmentations = [
        make_augmentation(read_params(PARAMS, ["augment.size=32", f"augment.engine={engine}"]).augment, variant)
        for engine, variants in ENGINES.items()
        for variant in variants
    ]
    return np.concatenate([augmentation(fixed_images()[:2], ids) for augmentation in augmentations])


def processor() -> str:
    """What decides the last bits of sums: vector instructions, and the processor's model."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return f"{device_kind('cpu')} {model}"


def circumstances() -> dict[str, Any]:
    """What the bytes were made with."""
    return {
        "features_code": featurize_module.CODE_VERSION,
        "augment_code": policy_module.CODE_VERSION,
        "processor": processor(),
        "libraries": {name: policy_module.version(name) for name in (*policy_module.LIBRARIES, "torch", "torchvision")},
    }


def make_golden() -> None:
    """Write the golden files anew. For whoever has raised a CODE_VERSION, or the pinned libraries."""
    GOLDEN.mkdir(exist_ok=True)
    np.save(GOLDEN / "features.npy", fixed_features())
    np.save(GOLDEN / "augmented.npy", fixed_augmented())
    (GOLDEN / "made_with.json").write_text(json.dumps(circumstances(), indent=1) + "\n")


def made_with() -> dict[str, Any]:
    return dict(json.loads((GOLDEN / "made_with.json").read_text()))


def test_features_do_not_change_unless_the_code_version_does() -> None:
    then = made_with()
    now = circumstances()
    assert then["features_code"] == now["features_code"], "Run make_golden of this file."
    expected = np.load(GOLDEN / "features.npy")
    computed = fixed_features()
    # Features are used in float16: a row that moves by less than a unit of that, as another order of sums may move it,
    # is the same row; another preprocessing or network moves it by much more.
    moved = np.linalg.norm(computed - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert moved.max() < FLOAT16, REMAKE
    if all(then[name] == now[name] for name in ("processor", "libraries")):
        assert computed.tobytes() == expected.tobytes(), REMAKE


def test_augmented_images_do_not_change_unless_the_code_version_does() -> None:
    then = made_with()
    now = circumstances()
    assert then["augment_code"] == now["augment_code"], "Run make_golden of this file."
    expected = np.load(GOLDEN / "augmented.npy")
    drawn = fixed_augmented()
    assert expected.shape == (12, 32, 32, 3)
    if then["libraries"] == now["libraries"]:  # others are in the key, so their bytes may differ
        # On another processor a sum next to one half is rounded the other way, by one level. Even if that befell every
        # second value, images would move by half a level on average; another draw moves them by many levels.
        moved = np.abs(drawn.astype(int) - expected.astype(int)).mean(axis=(1, 2, 3))
        assert moved.max() < 0.5, REMAKE
        if then["processor"] == now["processor"]:
            assert drawn.tobytes() == expected.tobytes(), REMAKE
    assert len({image.tobytes() for image in drawn}) == len(drawn)


def test_the_golden_test_would_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featurize_module, "resized", lambda pixels, size, interpolation: pixels * 1.01)
    featurize_module._network.cache_clear()
    try:
        with pytest.raises(AssertionError, match="raise CODE_VERSION"):
            test_features_do_not_change_unless_the_code_version_does()
    finally:
        featurize_module._network.cache_clear()
