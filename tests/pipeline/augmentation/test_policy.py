"""Policies: the report's two as its text has them, drawn per image from (seed, variant, id) alone."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cache.errors import ParamsError
from pipeline.augmentation.imgaug_engine import augmenter_names, import_imgaug
from pipeline.augmentation.policy import make_augmentation
from pipeline.config.augment import AugmentConfig
from pipeline.config.params import read_params

ROOT = Path(__file__).resolve().parents[3]
VARIANTS = ("spatial_1", "color_1", "auto_1", "rand_1")


@pytest.fixture
def config() -> AugmentConfig:
    found = read_params(ROOT / "params.yaml", ["augment.size=32"]).augment
    assert isinstance(found, AugmentConfig)
    return found


@pytest.fixture
def images() -> np.ndarray:
    random = np.random.default_rng(5)
    smooth = np.linspace(0, 200, 32)[None, :, None, None] * np.ones((1, 32, 32, 3))
    return np.clip(smooth + random.normal(20, 15, (9, 32, 32, 3)), 0, 255).astype(np.uint8)


IDS = np.array([b"%064x" % number for number in range(9)])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_result_depends_on_nothing_but_its_image_and_recipe(
    config: AugmentConfig, images: np.ndarray, variant: str
) -> None:
    augmentation = make_augmentation(config, variant)
    imgaug = importlib.import_module("imgaug")  # importable once the shim is in
    together = augmentation(images, IDS)
    order = np.random.default_rng(1).permutation(len(images))
    imgaug.seed(99)
    np.random.seed(99)
    assert np.array_equal(augmentation(images[order], IDS[order]), together[order])
    assert np.array_equal(augmentation(images[4:5], IDS[4:5])[0], together[4])
    assert together.shape == (9, 32, 32, 3) and together.dtype == np.uint8


def test_brightness_does_not_draw_from_the_global_generator(config: AugmentConfig, images: np.ndarray) -> None:
    """imgaug's own seeding passes over the randomly ordered pair inside MultiplyAndAddToBrightness."""
    steps = [{"MultiplyAndAddToBrightness": {"mul": [0.5, 1.5], "add": [-40, 40]}}]
    alone = config.model_copy(update={"policies": {"bright": steps}})
    augmentation = make_augmentation(alone, "bright_1")
    imgaug = importlib.import_module("imgaug")
    first = augmentation(images, IDS)
    for seed in range(8):
        imgaug.seed(seed)
        assert np.array_equal(augmentation(images, IDS), first)


def test_another_process_gives_the_same_bytes(config: AugmentConfig, images: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from pipeline.config.params import read_params; from pipeline.augmentation.policy import make_augmentation\n"
        "config = read_params(Path('params.yaml'), ['augment.size=32']).augment\n"
        "images = np.load(sys.argv[1]); ids = np.array([b'%064x' % number for number in range(9)])\n"
        "np.save(sys.argv[2], make_augmentation(config, 'spatial_1')(images[::-1], ids[::-1])[::-1])\n"
    )
    paths = [str(tmp_path / "images.npy"), str(tmp_path / "there.npy")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True, cwd=ROOT)
    assert np.array_equal(np.load(paths[1]), make_augmentation(config, "spatial_1")(images, IDS))


def test_draws_seeds_and_ids_differ(config: AugmentConfig, images: np.ndarray) -> None:
    first = make_augmentation(config, "spatial_1")(images, IDS)
    second_draw = make_augmentation(config, "spatial_2")(images, IDS)
    other_seed = make_augmentation(config.model_copy(update={"seed": 1}), "spatial_1")(images, IDS)
    other_ids = make_augmentation(config, "spatial_1")(images, np.roll(IDS, 1))
    for other in (second_draw, other_seed, other_ids):
        assert all(not np.array_equal(row, changed) for row, changed in zip(first, other, strict=True))


def test_the_report_s_policies_stand_as_the_seeds_page_reads_them(config: AugmentConfig) -> None:
    names = {policy: [next(iter(step)) for step in config.policies[policy]] for policy in ("spatial", "color")}
    assert names["spatial"] == [
        *("SomeOf", "Rotate", "PerspectiveTransform", "CropAndPad", "Cutout", "Fliplr", "Flipud"),
        "MultiplyAndAddToBrightness",
    ]
    assert names["color"] == [
        *("CropAndPad", "MultiplyAndAddToBrightness", "LinearContrast", "AdditiveGaussianNoise"),
        "AddToHueAndSaturation",
    ]


def test_flips_come_as_often_as_stated(config: AugmentConfig) -> None:
    """Fliplr with p 2/3 over 600 images: within four standard deviations."""
    flips = config.model_copy(update={"policies": {"flip": [{"Fliplr": {"p": 2 / 3}}]}})
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    image[:, :16] = 255
    ids = np.array([b"%064x" % number for number in range(600)])
    flipped = make_augmentation(flips, "flip_1")(np.repeat(image[None], 600, axis=0), ids)[:, 0, 0, 0] == 0
    assert abs(flipped.mean() - 2 / 3) < 4 * np.sqrt(2 / 9 / 600)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"Fliplrr": {"p": 1}}], "Did you mean 'Fliplr'?"),
        ([{"Fliplr": {"probability": 1}}], "probability"),
        ([{"Rotate": {"rotate": "much"}}], "Rotate"),
        ([{"AutoAugment": {"policy": "imagenets"}}], "imagenet"),
        ([{"SomeOf": {"n": 1, "children": [{"Fliplr": {"p": 1}, "Flipud": {"p": 1}}]}}], "Fliplr, Flipud"),
        ([{"Multiply": {"mul": float("inf")}}], "JSON"),
    ],
)
def test_a_wrong_step_is_refused_by_name(config: AugmentConfig, steps: list[dict[str, object]], message: str) -> None:
    wrong = config.model_copy(update={"policies": {"mine": steps}})
    with pytest.raises(ParamsError, match=r"augment\.policies\.mine") as error:
        make_augmentation(wrong, "mine_1")
    assert message in str(error.value)


NEEDS = {  # arguments of the augmenters that cannot be made without
    "Resize": {"size": 16},
    "OneOf": {"children": [{"Fliplr": {"p": 1}}, {"Flipud": {"p": 1}}]},
    "ChangeColorspace": {"to_colorspace": "HSV"},
    "WithColorspace": {"to_colorspace": "HSV", "children": [{"Add": {"value": 3}}]},
    "CropToFixedSize": {"width": 16, "height": 16},
    "PadToFixedSize": {"width": 40, "height": 40},
    "BlendAlpha": {"factor": 0.5, "foreground": [{"Add": {"value": 60}}]},
}


def test_every_augmenter_runs_or_is_refused_in_one_line(config: AugmentConfig, images: np.ndarray) -> None:
    """imgaug 0.4.0 is of 2020: what numpy and OpenCV have since broken is refused before work starts."""
    ran = set()
    for name in augmenter_names(import_imgaug()):
        steps = [{name: NEEDS.get(name, {})}]
        try:
            augmentation = make_augmentation(config.model_copy(update={"policies": {"mine": steps}}), "mine_1")
        except ParamsError as error:
            assert "augment.policies.mine" in str(error) and "\n" not in str(error)
            continue
        assert augmentation(images[:2], IDS[:2]).shape == (2, 32, 32, 3)
        ran.add(name)
    assert len(ran) > 100 and set(NEEDS) <= ran
    assert {"ElasticTransformation", "Affine", "GaussianBlur", "Clouds", "JpegCompression", "RandAugment"} <= ran


def test_a_step_that_cannot_run_is_refused(config: AugmentConfig) -> None:
    odd = config.model_copy(update={"policies": {"mine": [{"ChangeColorspace": {"to_colorspace": "nope"}}]}})
    with pytest.raises(ParamsError, match=r"augment\.policies\.mine"):
        make_augmentation(odd, "mine_1")
