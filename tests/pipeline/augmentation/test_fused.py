"""Fused policies: what imgaug's own steps give, as far as statistics can tell, and nothing where that is not known."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.stats import ks_2samp

from cache.errors import ParamsError
from cache.layout import Array
from pipeline.augmentation.canvas import Canvas
from pipeline.augmentation.policy import make_augmentation
from pipeline.config.augment import AugmentConfig
from pipeline.config.params import read_params

ROOT = Path(__file__).resolve().parents[3]
IMAGES, SIDE, LEVEL = 400, 64, 0.01


@pytest.fixture(scope="module")
def config() -> AugmentConfig:
    found = read_params(ROOT / "params.yaml", [f"augment.size={SIDE}"]).augment
    assert isinstance(found, AugmentConfig)
    return found


@pytest.fixture(scope="module")
def images() -> Array:
    """Colours whose spectrum falls as that of photos does, each with its own brightness and contrast."""
    random = np.random.default_rng(3)
    places = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.rfftfreq(SIDE), indexing="ij"))
    noise = np.fft.rfft2(random.normal(size=(IMAGES, 3, SIDE, SIDE))) / np.maximum(places, 1 / SIDE)
    waves = np.fft.irfft2(noise, (SIDE, SIDE)).transpose(0, 2, 3, 1)
    waves += 2 * waves.mean(axis=3, keepdims=True)  # channels of photos go together
    waves /= waves.std(axis=(1, 2, 3), keepdims=True)
    shape = (IMAGES, 1, 1, 1)
    tint = random.uniform([20, -10, -40], [40, 10, -20], (IMAGES, 1, 1, 3))
    bright, contrast = random.uniform(80, 180, shape), random.uniform(25, 60, shape)
    return np.clip(bright + tint + contrast * waves, 0, 255).astype(np.uint8)


def with_policies(config: AugmentConfig, **policies: Any) -> AugmentConfig:
    return AugmentConfig.model_validate(config.model_dump() | {"variants": [], "policies": policies})


def augmented(config: AugmentConfig, variant: str, images: Array) -> Array:
    return make_augmentation(config, variant)(images, np.array([b"%064x" % row for row in range(len(images))]))


def statistics(images: Array) -> dict[str, Array]:
    """Numbers of each picture [n]: what geometry, holes, colours and sharpness come to."""
    values, grey = images.astype(np.float64), images.mean(axis=3)
    hsv = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2HSV) for image in images])
    space = (1, 2)
    return {
        "mean": grey.mean(axis=space),
        "deviation": grey.std(axis=space),
        "red over blue": (values[..., 0] - values[..., 2]).mean(axis=space),
        "black": (images.max(axis=3) == 0).mean(axis=space),
        "without colour": (np.ptp(images, axis=3) == 0).mean(axis=space),
        "hue": hsv[..., 0].mean(axis=space),
        "saturation": hsv[..., 1].mean(axis=space),
        "corner": grey[:, :8, :8].mean(axis=space),
        "lower edge": grey[:, -4:].mean(axis=space),
        "centre": grey[:, 24:40, 24:40].mean(axis=space),
        "across": np.abs(np.diff(grey, axis=2)).mean(axis=space),
        "down": np.abs(np.diff(grey, axis=1)).mean(axis=space),
        "fine detail": np.abs(np.diff(grey, n=2, axis=2)).mean(axis=space),
    }


def differences(one: Array, other: Array) -> dict[str, float]:
    """Statistics in which two sets of pictures differ, by two-sample Kolmogorov-Smirnov tests, with their p."""
    found = {name: (values, statistics(other)[name]) for name, values in statistics(one).items()}
    tested = {name: float(ks_2samp(*pair).pvalue) for name, pair in found.items()}
    return {name: p for name, p in tested.items() if p < LEVEL / len(tested)}  # Bonferroni


@pytest.fixture(scope="module")
def by_imgaug(config: AugmentConfig, images: Array) -> dict[str, Array]:
    return {policy: augmented(config, f"{policy}_1", images) for policy in ("spatial", "color")}


@pytest.mark.parametrize("policy", ["spatial", "color"])
def test_a_fused_policy_has_the_distribution_of_imgaugs(
    config: AugmentConfig, images: Array, by_imgaug: dict[str, Array], policy: str
) -> None:
    fused = augmented(config, f"fused_{policy}_1", images)
    assert differences(by_imgaug[policy], fused) == {}
    assert not np.array_equal(by_imgaug[policy], fused)


CHANGES: dict[str, list[dict[str, Any]]] = {
    "spatial": [
        {"Rotate": {"rotate": [-20, 20]}},
        {"CropAndPad": {"percent": [-0.1, 0.1], "keep_size": False}},
        {"Cutout": {"fill_mode": "gaussian", "nb_iterations": 1, "size": [0.2, 0.3], "squared": False}},
    ],
    "color": [
        {"MultiplyAndAddToBrightness": {"mul": [0.9, 1.1], "add": [-30, 10]}},
        {"LinearContrast": {"alpha": [1.0, 1.5], "per_channel": 0.5}},
        {"AdditiveGaussianNoise": {"loc": 0, "scale": [0.0, 25.0], "per_channel": 0.5}},
        {"AddToHueAndSaturation": {"value": [-15, 15], "per_channel": True}},
    ],
}


@pytest.mark.parametrize(("policy", "step"), [(policy, step) for policy, steps in CHANGES.items() for step in steps])
def test_another_distribution_is_found(
    config: AugmentConfig, images: Array, by_imgaug: dict[str, Array], policy: str, step: Any
) -> None:
    """So that the test above can fail: one argument of one step is another."""
    steps = [step if set(own) == set(step) else own for own in config.policies[policy]]
    assert steps != config.policies[policy]
    changed = with_policies(config, own=steps, fused_own=[{"Fused": {"policy": "own"}}])
    assert differences(by_imgaug[policy], augmented(changed, "fused_own_1", images))


LARGER = {"Resize": {"size": 256, "interpolation": "linear"}}
FIXED = {
    "nothing": [{"Resize": {"size": SIDE, "interpolation": "cubic"}}],
    "smaller": [{"Resize": {"size": 32, "interpolation": "linear"}}, {"Rotate": {"rotate": 17}}],
    "larger": [LARGER],
    "far larger": [{"Resize": {"size": 1024, "interpolation": "linear"}}, {"Rotate": {"rotate": 45}}],
    "cubic": [{"Resize": {"size": 256, "interpolation": "cubic"}}, {"Rotate": {"rotate": -8}}],
    "turned": [LARGER, {"Rotate": {"rotate": 17}}],
    "turned as it is": [{"Resize": {"size": SIDE, "interpolation": "cubic"}}, {"Rotate": {"rotate": 17}}],
    "cropped": [{"CropAndPad": {"percent": -0.1, "keep_size": False}}],
    "cropped to a stamp": [{"CropAndPad": {"percent": -0.45, "keep_size": False}}],
    "padded": [LARGER, {"Rotate": {"rotate": 40}}, {"CropAndPad": {"percent": 0.15, "keep_size": False}}],
    "upside down": [{"Rotate": {"rotate": 17}}, {"Flipud": {"p": 1}}],
    "contrast and mirror": [LARGER, {"LinearContrast": {"alpha": 0.5, "per_channel": 0}}, {"Fliplr": {"p": 1}}],
    "perspective": [LARGER, {"PerspectiveTransform": {"scale": 0, "keep_size": False}}],
}


@pytest.mark.parametrize("steps", FIXED.values(), ids=FIXED)
def test_steps_without_chance_do_what_imgaugs_do(config: AugmentConfig, images: Array, steps: Any) -> None:
    both = with_policies(config, own=steps, fused_own=[{"Fused": {"policy": "own"}}])
    own, fused = (augmented(both, f"{name}_1", images[:40]).astype(int) for name in ("own", "fused_own"))
    assert np.abs(own - fused).mean() < 1.2
    assert np.percentile(np.abs(own - fused), 99) < 12
    assert abs((own == 0).mean() - (fused == 0).mean()) < 0.01


def test_pictures_of_any_shape_are_stored_in_one_size(config: AugmentConfig) -> None:
    random = np.random.default_rng(0)
    for shape in ((9, 33), (300, 41), (64, 64)):
        picture = random.integers(0, 256, (1, *shape, 3), dtype=np.uint8)
        assert augmented(config, "fused_spatial_1", picture).shape == (1, SIDE, SIDE, 3)


def test_what_never_meets_is_black(config: AugmentConfig, images: Array) -> None:
    steps: list[Any] = [{"Rotate": {"rotate": 45}}, {"CropAndPad": {"percent": [-0.49, 1], "keep_size": False}}]
    both = with_policies(config, own=steps, fused_own=[{"Fused": {"policy": "own"}}])
    own, fused = (augmented(both, f"{name}_1", images[:150]) for name in ("own", "fused_own"))
    assert differences(own, fused) == {}


def test_black_is_added_where_no_place_moves(images: Array) -> None:
    canvas = Canvas(images[0], SIDE, np.random.default_rng(0))
    canvas.move(np.eye(3), (SIDE + 6, SIDE + 20), framed=True)
    drawn = canvas.draw()
    assert drawn.shape == (SIDE + 6, SIDE + 20, 3) and np.array_equal(drawn[:SIDE, :SIDE], images[0])
    assert not drawn[SIDE:].any() and not drawn[:, SIDE:].any()


def test_a_picture_is_not_written_to(config: AugmentConfig, images: Array) -> None:
    holes = config.policies["spatial"][4]
    chosen = with_policies(config, own=[holes], fused_own=[{"Fused": {"policy": "own"}}])
    kept = images[:5].copy()
    kept.setflags(write=False)
    assert not np.array_equal(augmented(chosen, "fused_own_1", kept), images[:5])


@pytest.mark.parametrize(("source", "stored"), [(256, 64), (128, 128)], ids=lambda side: f"{side} px")
@pytest.mark.parametrize("policy", ["spatial", "color"])
def test_sizes_do_not_matter(images: Array, policy: str, source: int, stored: int) -> None:
    chosen = read_params(ROOT / "params.yaml", [f"augment.size={stored}"]).augment
    assert isinstance(chosen, AugmentConfig)
    larger = np.stack([cv2.resize(one, (source, source), interpolation=cv2.INTER_CUBIC) for one in images[:150]])
    own, fused = (augmented(chosen, f"{name}_1", larger) for name in (policy, f"fused_{policy}"))
    assert differences(own, fused) == {}


def test_fine_detail_of_a_large_picture_is_averaged(config: AugmentConfig) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 256, 256, 3), dtype=np.uint8)
    both = with_policies(config, own=[{"Rotate": {"rotate": 17}}], fused_own=[{"Fused": {"policy": "own"}}])
    own, fused = (augmented(both, f"{name}_1", noise)[:, 16:48, 16:48].std() for name in ("own", "fused_own"))
    assert fused == pytest.approx(own, rel=0.05)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"ElasticTransformation": {"alpha": 3}}, "a step that can be fused: unknown name"),
        ({"Rotate": {"rotate": 3, "order": 0}}, "Rotate: unknown name; expected one of rotate, found 'order'"),
        ({"CropAndPad": {"percent": [0, 0.1], "keep_size": True}}, "CropAndPad.keep_size"),
        ({"SomeOf": {"n": 1, "children": [{"Rotate": {"rotate": 3}}]}}, "SomeOf.children that can be fused"),
        ({"CropAndPad": {"percent": -0.6, "keep_size": False}}, "CropAndPad.percent.0"),
        ({"PerspectiveTransform": {"scale": [0.3, 0.5], "keep_size": False}}, "PerspectiveTransform.scale.0"),
    ],
)
def test_what_cannot_be_fused_is_refused_by_name(config: AugmentConfig, step: Any, message: str) -> None:
    chosen = with_policies(config, own=[step], fused_own=[{"Fused": {"policy": "own"}}])
    with pytest.raises(ParamsError) as caught:
        make_augmentation(chosen, "fused_own_1")
    assert "policies.fused_own" in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize(
    "steps",
    [
        [{"Fliplr": {"p": 1}}, {"Rotate": {"rotate": 3}}],
        [{"Rotate": {"rotate": 3}}, LARGER],
        [LARGER, LARGER],
        [{"Rotate": {"rotate": 3}}, {"Rotate": {"rotate": 3}}],
    ],
)
def test_an_order_that_cannot_be_fused_is_refused(config: AugmentConfig, steps: Any) -> None:
    chosen = with_policies(config, own=steps, fused_own=[{"Fused": {"policy": "own"}}])
    with pytest.raises(ParamsError, match="order cannot be fused; expected Resize, then geometric steps, each once"):
        make_augmentation(chosen, "fused_own_1")


@pytest.mark.parametrize(
    "steps",
    [
        [{"Fused": {"policy": "nothing"}}],
        [{"Fused": {"policy": "fused_own"}}],
        [{"Fused": {}}],
        [{"Fused": {"policy": "own", "size": 3}}],
        [{"Fused": {"policy": "own"}}, {"Fliplr": {"p": 1}}],
        [{"Fliplr": {"p": 1}}, {"Fused": {"policy": "own"}}],
    ],
)
def test_a_fused_policy_is_one_step_that_names_another(config: AugmentConfig, steps: Any) -> None:
    with pytest.raises(ValueError, match=re.escape("must be one step `Fused: {policy: <name>}` of own")):
        with_policies(config, own=[{"Fliplr": {"p": 1}}], fused_own=steps)


def test_rows_are_kept_apart_from_imgaugs_and_follow_the_policy_that_is_fused(config: AugmentConfig) -> None:
    one = make_augmentation(config, "fused_spatial_1").recipe
    assert one != make_augmentation(config, "spatial_1").recipe
    steps = [{"Fliplr": {"p": 1.0}}]
    other = with_policies(config, spatial=steps, fused_spatial=[{"Fused": {"policy": "spatial"}}])
    assert one != make_augmentation(other, "fused_spatial_1").recipe


def test_imgaug_is_not_needed() -> None:
    code = (
        "import sys; sys.modules['imgaug'] = None\n"
        "from pathlib import Path; import numpy as np\n"
        "from pipeline.config.params import read_params; from pipeline.augmentation.policy import make_augmentation\n"
        f"config = read_params(Path({str(ROOT / 'params.yaml')!r}), [])['augment']\n"
        "made = make_augmentation(config, 'fused_color_1')\n"
        "print(sorted(made.recipe['libraries']), made(np.zeros((1, 8, 8, 3), np.uint8), np.array([b'0'])).shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout == "['numpy', 'opencv-python-headless'] (1, 64, 64, 3)\n", done.stderr
