"""The fused engine: what imgaug's own steps give, exactly or as far as statistics can tell; never a guess."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from augmented import SIDE, augmented, changes, differences, textured

from cache.errors import ParamsError
from cache.layout import Array
from pipeline.augmentation.fused import STEPS, unknown_steps
from pipeline.augmentation.policy import make_augmentation, unfused
from pipeline.config.augment import AugmentConfig
from pipeline.config.params import read_params

ROOT = Path(__file__).resolve().parents[3]
IMAGES = 300
LARGER = {"Resize": {"size": 256, "interpolation": "linear"}}
TURN = {"Rotate": {"rotate": 17}}


@pytest.fixture(scope="module")
def config() -> AugmentConfig:
    return read_params(ROOT / "params.yaml", [f"augment.size={SIDE}"]).augment


@pytest.fixture(scope="module")
def images() -> Array:
    return textured(IMAGES)


def with_policy(config: AugmentConfig, steps: Any, engine: str = "auto") -> AugmentConfig:
    changed = {"variants": ["mine_1"], "policies": {"mine": steps}, "engine": engine}
    return AugmentConfig.model_validate(config.model_dump() | changed)


# Whole policies


@pytest.fixture(scope="module")
def by_imgaug(config: AugmentConfig, images: Array) -> dict[str, dict[str, Array]]:
    policies = ("spatial", "color")
    return {name: changes(augmented(config.policies[name], "imgaug", images), images) for name in policies}


@pytest.mark.parametrize("policy", ["spatial", "color"])
def test_a_policy_has_the_distribution_of_imgaugs(
    config: AugmentConfig, images: Array, by_imgaug: dict[str, dict[str, Array]], policy: str
) -> None:
    fused = augmented(config.policies[policy], "fused", images)
    assert differences(by_imgaug[policy], changes(fused, images)) == {}


CHANGED: dict[str, list[dict[str, Any]]] = {
    "spatial": [
        {"Rotate": {"rotate": [-10, 10]}},
        {"CropAndPad": {"percent": [-0.1, 0.05], "keep_size": False}},
        {"Cutout": {"fill_mode": "gaussian", "nb_iterations": 1, "size": [0.2, 0.3], "squared": False}},
    ],
    "color": [
        {"MultiplyAndAddToBrightness": {"mul": [0.9, 1.1], "add": [-30, 10]}},
        {"LinearContrast": {"alpha": [1.0, 1.5], "per_channel": 0.5}},
        {"AdditiveGaussianNoise": {"loc": 0, "scale": [0.0, 25.0], "per_channel": 0.5}},
        {"AddToHueAndSaturation": {"value": [-15, 15], "per_channel": True}},
    ],
}


@pytest.mark.parametrize(("policy", "step"), [(policy, step) for policy, steps in CHANGED.items() for step in steps])
def test_a_wrong_argument_of_one_step_of_a_policy_is_found(
    config: AugmentConfig, images: Array, by_imgaug: dict[str, dict[str, Array]], policy: str, step: Any
) -> None:
    steps = [step if set(own) == set(step) else own for own in config.policies[policy]]
    assert steps != config.policies[policy]
    assert differences(by_imgaug[policy], changes(augmented(steps, "fused", images), images))


# Steps whose arguments are drawn: right arguments, and wrong ones that the test must find

DRAWN: dict[str, tuple[Any, Any]] = {
    "Affine": ({"scale": {"x": [0.8, 1.2], "y": [0.8, 1.2]}, "rotate": [-20, 20]}, {"rotate": [-20, 20]}),
    "Rotate": ({"rotate": {"choice": [-30, 10]}}, {"rotate": [-30, 10]}),
    "ScaleX": ({"scale": [0.7, 1.0]}, {"scale": [0.7, 1.2]}),
    "ScaleY": ({"scale": [0.7, 1.0], "mode": "edge"}, {"scale": [0.5, 1.0], "mode": "edge"}),
    "TranslateX": ({"px": [0, 9]}, {"px": [-9, 9]}),
    "TranslateY": ({"percent": [0.0, 0.3], "cval": 255}, {"percent": [0.0, 0.3]}),
    "ShearX": ({"shear": [-30, 30]}, {"shear": [-10, 10]}),
    "ShearY": ({"shear": [0, 20], "mode": "reflect"}, {"shear": [0, 20], "mode": "wrap"}),
    "PerspectiveTransform": ({"scale": [0.02, 0.1]}, {"scale": [0.02, 0.05]}),
    "Crop": ({"percent": [0, 0.2]}, {"percent": [0, 0.1]}),
    "Pad": ({"px": [0, 12], "pad_cval": [0, 255]}, {"px": [0, 12]}),
    "CropAndPad": ({"percent": [-0.1, 0.2], "sample_independently": False}, {"percent": [-0.1, 0.2]}),
    "Resize": ({"size": [16, 60], "interpolation": "area"}, {"size": [40, 60], "interpolation": "area"}),
    "Fliplr": ({"p": 0.7}, {"p": 0.3}),
    "Flipud": ({"p": 0.2}, {"p": 0.6}),
    "Rot90": ({"k": [0, 2]}, {"k": 1}),
    "Cutout": ({"nb_iterations": [1, 3], "size": [0.1, 0.4]}, {"nb_iterations": [1, 3], "size": [0.1, 0.3]}),
    "CoarseDropout": ({"p": [0.05, 0.3], "size_px": [3, 9]}, {"p": [0.05, 0.15], "size_px": [3, 9]}),
    "Dropout": ({"p": [0.0, 0.1], "per_channel": 0.5}, {"p": [0.0, 0.1]}),
    "Multiply": ({"mul": [0.6, 1.4], "per_channel": 0.5}, {"mul": [0.6, 1.4]}),
    "Add": ({"value": [-40, 40], "per_channel": True}, {"value": [-20, 20], "per_channel": True}),
    "MultiplyAndAddToBrightness": ({"mul": [0.7, 1.3], "add": [-20, 20]}, {"mul": [0.7, 1.0], "add": [-20, 20]}),
    "LinearContrast": ({"alpha": [0.5, 1.5]}, {"alpha": [0.5, 1.1]}),
    "GammaContrast": ({"gamma": [0.5, 2.0], "per_channel": 0.5}, {"gamma": [0.5, 1.4], "per_channel": 0.5}),
    "AdditiveGaussianNoise": ({"scale": [0, 20]}, {"scale": [0, 20], "per_channel": True}),
    "AddToHueAndSaturation": ({"value": [-60, 60]}, {"value_hue": [-60, 60]}),
    "Grayscale": ({"alpha": [0.0, 1.0]}, {"alpha": [0.0, 0.6]}),
    "GaussianBlur": ({"sigma": [0, 2]}, {"sigma": [0, 1]}),
    "MotionBlur": ({"k": [3, 11], "angle": [-10, 10]}, {"k": [3, 11]}),
    "Sharpen": ({"alpha": [0, 0.5], "lightness": [0.8, 1.2]}, {"alpha": [0, 0.2], "lightness": [0.8, 1.2]}),
    "JpegCompression": ({"compression": [70, 99]}, {"compression": [70, 90]}),
    "Solarize": ({"p": 0.5, "threshold": [50, 200]}, {"p": 0.8, "threshold": [50, 200]}),
    "Posterize": ({"nb_bits": [2, 4]}, {"nb_bits": [3, 5]}),
    "Sometimes": (
        {"p": 0.3, "then_list": [{"Add": {"value": 30}}], "else_list": [{"Fliplr": {"p": 1}}]},
        {"p": 0.6, "then_list": [{"Add": {"value": 30}}], "else_list": [{"Fliplr": {"p": 1}}]},
    ),
    "SomeOf": (
        {"n": [1, 2], "children": [{"Add": {"value": 30}}, {"Flipud": {"p": 1}}, TURN]},
        {"n": [2, 3], "children": [{"Add": {"value": 30}}, {"Flipud": {"p": 1}}, TURN]},
    ),
    "OneOf": (
        {"children": [{"Add": {"value": 30}}, {"Flipud": {"p": 1}}]},
        {"children": [{"Add": {"value": 30}}, {"Add": {"value": 30}}, {"Add": {"value": 30}}, {"Flipud": {"p": 1}}]},
    ),
    "Sequential": (
        {"random_order": True, "children": [{"Add": {"value": 90}}, {"Multiply": {"mul": 0.3}}]},
        {"random_order": False, "children": [{"Add": {"value": 90}}, {"Multiply": {"mul": 0.3}}]},
    ),
}


def test_every_known_step_is_tried() -> None:
    assert set(DRAWN) | {"Identity"} == set(STEPS)


@pytest.mark.parametrize("name", DRAWN)
def test_a_step_has_the_distribution_of_imgaugs_and_a_wrong_argument_is_found(images: Array, name: str) -> None:
    right, wrong = DRAWN[name]
    expected = changes(augmented([{name: right}], "imgaug", images), images)
    assert differences(expected, changes(augmented([{name: right}], "fused", images), images)) == {}
    assert differences(expected, changes(augmented([{name: wrong}], "fused", images), images))


# Chains of steps in orders that share warps, flush them, and paint edges

CHAINS: dict[str, Any] = {
    "two turns": [{"Rotate": {"rotate": [-45, 45]}}, {"Rotate": {"rotate": [-45, 45], "cval": 90}}],
    "a blur between two turns": [TURN, {"GaussianBlur": {"sigma": [0, 2]}}, {"Rotate": {"rotate": [-45, 45]}}],
    "brightness between two turns": [TURN, {"Add": {"value": [0, 60]}}, {"Rotate": {"rotate": [-45, 45]}}],
    "turned and padded": [
        {"Rotate": {"rotate": [-45, 45]}},
        {"CropAndPad": {"percent": [-0.1, 0.3], "keep_size": False}},
    ],
    "a large canvas": [
        LARGER,
        {"Rotate": {"rotate": [-45, 45]}},
        {"PerspectiveTransform": {"scale": [0.01, 0.1], "keep_size": False}},
        {"LinearContrast": {"alpha": [0.5, 1.5]}},
        {"Cutout": {"nb_iterations": 2, "size": [0.2, 0.3]}},
    ],
    "holes before a turn": [{"Cutout": {"size": [0.2, 0.4]}}, {"Rotate": {"rotate": [-45, 45], "mode": "reflect"}}],
    "noise before a perspective": [
        {"AdditiveGaussianNoise": {"scale": [5, 25]}},
        {"PerspectiveTransform": {"scale": [0.02, 0.1], "keep_size": False}},
        {"Rot90": {"k": [0, 3]}},
    ],
    "mild": [
        {"Fliplr": {"p": 0.5}},
        {"Affine": {"rotate": [-10, 10], "scale": {"x": [0.8, 1.2]}, "translate_px": {"y": [-5, 5]}, "mode": "edge"}},
        {"Crop": {"percent": [0, 0.1], "keep_size": False}},
        {"SomeOf": {"n": [0, 2], "children": [{"GaussianBlur": {}}, {"Multiply": {}}, {"JpegCompression": {}}]}},
    ],
}


@pytest.mark.parametrize("steps", CHAINS.values(), ids=CHAINS)
def test_a_chain_has_the_distribution_of_imgaugs(images: Array, steps: Any) -> None:
    expected = changes(augmented(steps, "imgaug", images[:200]), images[:200])
    assert differences(expected, changes(augmented(steps, "fused", images[:200]), images[:200])) == {}


# Steps without chance: the same pixels

EXACT: dict[str, Any] = {
    "all of Affine": [
        {"Affine": {"rotate": 17, "scale": {"x": 1.2}, "translate_percent": {"x": 0.1}, "shear": {"x": 10, "y": 5}}}
    ],
    "shear across": [{"Affine": {"shear": 15, "mode": "symmetric"}}],
    "colour of the edge": [{"Affine": {"rotate": 25, "cval": 200}}],
    "whole pixels": [{"Affine": {"translate_px": {"x": 5, "y": -7}}}],
    "wrapped": [{"Affine": {"rotate": 25, "mode": "wrap"}}],
    "cropped in place": [{"Crop": {"percent": 0.2}}],
    "cropped to nearly nothing": [{"Crop": {"px": 40, "keep_size": False}}],
    "four sides": [{"Pad": {"px": {"top": 3, "right": 9, "bottom": 0, "left": 5}, "pad_mode": "reflect"}}],
    "a quarter": [{"Crop": {"px": {"top": 0, "right": 9, "bottom": 0, "left": 5}, "keep_size": False}}, {"Rot90": {}}],
    "smaller": [{"Resize": {"size": 32, "interpolation": "linear"}}, TURN],
    "height and width": [{"Resize": {"size": {"height": 100, "width": "keep-aspect-ratio"}}}],
    "turned, brighter, mirrored": [TURN, {"Add": {"value": 40}}, {"Fliplr": {"p": 1}}],
    "tables": [{"Add": {"value": 33}}, {"Multiply": {"mul": 1.4}}, {"GammaContrast": {"gamma": 1.6}}],
    "solarized": [{"Solarize": {"threshold": 100}}, {"Posterize": {"nb_bits": 3}}, {"LinearContrast": {"alpha": 1.3}}],
    "hue": [{"AddToHueAndSaturation": {"value_hue": -70, "value_saturation": 20}}, {"Grayscale": {"alpha": 0.4}}],
    "filters": [{"MotionBlur": {"k": 7, "angle": 33, "direction": 0.4}}, {"Sharpen": {"alpha": 0.6, "lightness": 1}}],
    "jpeg": [{"GaussianBlur": {"sigma": 2.2}}, {"JpegCompression": {"compression": 80}}],
}


@pytest.mark.parametrize("steps", EXACT.values(), ids=EXACT)
def test_steps_that_are_not_composed_give_the_pixels_of_imgaug(images: Array, steps: Any) -> None:
    by_imgaug, fused = (augmented(steps, engine, images[:20]).astype(int) for engine in ("imgaug", "fused"))
    gap = np.abs(by_imgaug - fused)
    assert gap.mean() < 0.05  # float32 in imgaug's place of float64, rounded
    assert np.percentile(gap, 99) <= 1


COMPOSED: dict[str, Any] = {
    "turned": [LARGER, TURN],
    "far larger": [{"Resize": {"size": 1024, "interpolation": "linear"}}, {"Rotate": {"rotate": 45}}],
    "cubic": [{"Resize": {"size": 256, "interpolation": "cubic"}}, {"Rotate": {"rotate": -8}}],
    "perspective": [LARGER, {"PerspectiveTransform": {"scale": 0, "keep_size": False}}],
    "cropped": [LARGER, {"CropAndPad": {"percent": -0.05, "keep_size": False}}],
    "two turns": [TURN, {"Rotate": {"rotate": -35, "cval": 90}}],
    "contrast and mirror": [LARGER, TURN, {"LinearContrast": {"alpha": 0.5}}, {"Fliplr": {"p": 1}}],
}


@pytest.mark.parametrize("steps", COMPOSED.values(), ids=COMPOSED)
def test_one_warp_is_as_sharp_and_lies_where_imgaugs_do(images: Array, steps: Any) -> None:
    """Smoothed, so that only places count: a shift by one pixel changes at least five times as much."""
    source = images[:40]
    by_imgaug, fused = (augmented(steps, engine, source) for engine in ("imgaug", "fused"))
    detail = [np.abs(np.diff(drawn.astype(int), n=2, axis=2)).mean() for drawn in (by_imgaug, fused)]
    assert detail[1] == pytest.approx(detail[0], rel=0.05)
    smooth = [np.stack([cv2.GaussianBlur(image, (7, 7), 1.5) for image in drawn]) for drawn in (by_imgaug, fused)]
    gaps = [np.abs(smooth[0].astype(int) - np.roll(smooth[1], shift, 2)).mean() for shift in (0, 1)]
    assert gaps[0] < gaps[1] / 5


def test_fine_detail_of_a_large_image_is_averaged(config: AugmentConfig) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 256, 256, 3), dtype=np.uint8)
    ids = np.array([b"%064x" % row for row in range(20)])
    drawn = [
        make_augmentation(with_policy(config, [TURN], engine), "mine_1")(noise, ids)[:, 16:48, 16:48].std()
        for engine in ("imgaug", "fused")
    ]
    assert drawn[1] == pytest.approx(drawn[0], rel=0.05)


@pytest.mark.parametrize("stored", [32, pytest.param(128, marks=pytest.mark.long)])
@pytest.mark.parametrize("policy", ["spatial", "color"])
def test_stored_sizes_do_not_matter(config: AugmentConfig, images: Array, policy: str, stored: int) -> None:
    ids = np.array([b"%064x" % row for row in range(100)])
    source = np.stack([cv2.resize(image, (stored, stored), interpolation=cv2.INTER_AREA) for image in images[:100]])
    drawn = []
    for engine in ("imgaug", "fused"):
        sized = config.model_copy(update={"size": stored, "engine": engine})
        drawn.append(changes(make_augmentation(sized, f"{policy}_1")(images[:100], ids), source))
    assert differences(*drawn) == {}


def test_images_of_any_shape_are_stored_in_one_size(config: AugmentConfig) -> None:
    random = np.random.default_rng(0)
    for shape in ((9, 33), (300, 41), (64, 64), (1, 1)):
        image = random.integers(0, 256, (1, *shape, 3), dtype=np.uint8)
        for policy in ("spatial_1", "color_1"):
            assert make_augmentation(config, policy)(image, np.array([b"0"])).shape == (1, SIDE, SIDE, 3)


def test_the_source_is_not_written_to(images: Array) -> None:
    kept = images[:5].copy()
    kept.setflags(write=False)
    steps = [{"Cutout": {}}, {"Crop": {"px": 3, "keep_size": False}}, {"Cutout": {}}]
    assert not np.array_equal(augmented(steps, "fused", kept), images[:5])


# What is not known


@pytest.mark.parametrize(
    ("step", "unknown"),
    [
        ({"ElasticTransformation": {"alpha": 3}}, "ElasticTransformation"),
        ({"Rotate": {"rotate": 3, "order": 0}}, "Rotate (order: 0)"),
        ({"Affine": {"rotate": 3, "fit_output": True}}, "Affine (fit_output: True)"),
        ({"CropAndPad": {"percent": 0.1, "pad_mode": "maximum"}}, "CropAndPad (pad_mode: 'maximum')"),
        ({"Multiply": {"mul": [0.5, 1, 2]}}, "Multiply (mul: [0.5, 1, 2])"),
        ({"Cutout": {"position": "normal"}}, "Cutout (position: 'normal')"),
        ({"OneOf": {"children": [{"Clouds": {}}, {"Fliplr": {}}]}}, "Clouds"),
        ({"Sometimes": {"p": 0.5, "then_list": [{"Sometimes": {"then_list": [{"Rain": {}}]}}]}}, "Rain"),
        ({"Fliplr": {"p": 0.5, "seed": 3}}, "Fliplr (seed: 3)"),
    ],
)
def test_a_step_or_argument_that_is_not_known_is_left_to_imgaug(config: AugmentConfig, step: Any, unknown: str) -> None:
    steps = [{"Fliplr": {"p": 1}}, step]
    assert unknown_steps(steps) == [unknown]
    assert unfused(with_policy(config, steps)) == {"mine": [unknown]}
    assert unfused(with_policy(config, steps, "imgaug")) == {}
    with pytest.raises(ParamsError, match=re.escape(f"found {unknown}. Set augment.engine to auto or imgaug")):
        make_augmentation(with_policy(config, steps, "fused"), "mine_1")


def test_auto_is_fused_if_all_is_known(config: AugmentConfig) -> None:
    engines = {policy: make_augmentation(config, f"{policy}_1").engine for policy in config.policies}
    assert engines == {"mild": "fused", "spatial": "fused", "color": "fused", "auto": "imgaug", "rand": "imgaug"}
    assert unfused(config) == {}  # `auto` and `rand` are not among the variants


def test_the_engine_is_in_the_key_and_auto_is_not(config: AugmentConfig) -> None:
    recipes = [
        make_augmentation(config.model_copy(update={"engine": engine}), "color_1").recipe
        for engine in ("auto", "fused", "imgaug")
    ]
    assert recipes[0] == recipes[1] != recipes[2]


def test_a_step_fused_gets_its_remedy(config: AugmentConfig) -> None:
    with pytest.raises(ValueError, match=r"has a step `Fused`, which augment\.engine replaces"):
        with_policy(config, [{"Fused": {"policy": "spatial"}}])


def test_imgaug_is_not_needed() -> None:
    code = (
        "import sys; sys.modules['imgaug'] = None\n"
        "from pathlib import Path; import numpy as np\n"
        "from pipeline.config.params import read_params; from pipeline.augmentation.policy import make_augmentation\n"
        f"config = read_params(Path({str(ROOT / 'params.yaml')!r}), []).augment\n"
        "made = make_augmentation(config, 'color_1')\n"
        "print(sorted(made.recipe['libraries']), made(np.zeros((1, 8, 8, 3), np.uint8), np.array([b'0'])).shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout == "['numpy', 'opencv-python-headless'] (1, 64, 64, 3)\n", done.stderr
