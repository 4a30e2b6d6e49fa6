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
    return read_params(ROOT / "params.yaml", ["augment.size=32"]).augment


@pytest.fixture
def images() -> np.ndarray:
    random = np.random.default_rng(5)
    smooth = np.linspace(0, 200, 32)[None, :, None, None] * np.ones((1, 32, 32, 3))
    return np.clip(smooth + random.normal(20, 15, (9, 32, 32, 3)), 0, 255).astype(np.uint8)


IDS = np.array([b"%064x" % number for number in range(9)])


@pytest.mark.parametrize("engine", ["auto", "imgaug"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_result_depends_on_nothing_but_its_image_and_recipe(
    config: AugmentConfig, images: np.ndarray, variant: str, engine: str
) -> None:
    augmentation = make_augmentation(config.model_copy(update={"engine": engine}), variant)
    import_imgaug()
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
    alone = config.model_copy(update={"policies": {"bright": steps}, "engine": "imgaug"})
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


def shifts(config: AugmentConfig, steps: list[dict[str, object]], engine: str) -> set[int]:
    """By how many pixels the left edge of a white image has moved in 200 draws, black coming in."""
    chosen = config.model_copy(update={"policies": {"mine": steps}, "engine": engine})
    ids = np.array([b"%064x" % number for number in range(200)])
    drawn = make_augmentation(chosen, "mine_1")(np.full((200, 32, 32, 3), 255, dtype=np.uint8), ids)
    return {int((row.max(axis=(0, 2)) == 0).sum()) for row in drawn}


@pytest.mark.parametrize("engine", ["imgaug", "fused"])
@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([{"Affine": {"translate_px": {"x": [0, 5]}}}], set(range(6))),
        ([{"Affine": {"translate_px": {"x": {"choice": [2, 5]}}}}], {2, 5}),
        ([{"TranslateX": {"px": {"choice": [1, 3, 7]}}}], {1, 3, 7}),
        ([{"SomeOf": {"n": 1, "children": [{"Affine": {"translate_px": {"x": [3, 4]}}}]}}], {3, 4}),
        ([{"Sometimes": {"p": 1, "then_list": [{"Affine": {"translate_px": {"x": [3, 4]}}}]}}], {3, 4}),
        ([{"SomeOf": {"n": {"choice": [0, 2]}, "children": [{"TranslateX": {"px": 2}}] * 2}}], {0, 4}),
    ],
)
def test_ranges_and_choices_are_such_at_every_depth(
    config: AugmentConfig, steps: list[dict[str, object]], expected: set[int], engine: str
) -> None:
    assert shifts(config, steps, engine) == expected


@pytest.mark.parametrize("engine", ["imgaug", "fused"])
def test_a_range_of_scales_along_one_axis_is_a_range(config: AugmentConfig, engine: str) -> None:
    assert len(shifts(config, [{"Affine": {"scale": {"x": [0.2, 1.0]}}}], engine)) > 10


@pytest.mark.parametrize("engine", ["imgaug", "fused"])
@pytest.mark.parametrize("unit", ["px", "percent"])
def test_sides_have_values_of_their_own(config: AugmentConfig, unit: str, engine: str) -> None:
    step = 1 if unit == "px" else 1 / 32
    sides = {"top": 0, "right": [4 * step, 6 * step], "bottom": {"choice": [8 * step]}, "left": 0}
    chosen = config.model_copy(
        update={"policies": {"mine": [{"Pad": {unit: sides, "keep_size": False}}]}, "engine": engine, "size": 64}
    )
    ids = np.array([b"%064x" % number for number in range(50)])
    drawn = make_augmentation(chosen, "mine_1")(np.full((50, 32, 32, 3), 255, dtype=np.uint8), ids)
    height = 64 * 32 / 40  # of the image in the padded one
    widths = [64 * 32 / (32 + added) for added in (4, 5, 6)]
    assert np.abs((drawn[:, :, 0, 0] > 127).sum(axis=1) - height).max() <= 1
    covered = (drawn[:, 0, :, 0] > 127).sum(axis=1)
    assert {min(range(3), key=lambda index: abs(widths[index] - width)) for width in covered} == {0, 1, 2}


def test_a_choice_among_ranges_is_refused_with_its_remedy(config: AugmentConfig) -> None:
    steps = [{"Rotate": {"rotate": {"choice": [[-30, -20], [20, 30]]}}}]
    chosen = config.model_copy(update={"policies": {"mine": steps}})
    with pytest.raises(ParamsError, match="choose among them with OneOf"):
        make_augmentation(chosen, "mine_1")


NEEDS = {  # arguments of the augmenters that cannot be made without
    "Resize": {"size": 16},
    "OneOf": {"children": [{"Fliplr": {"p": 1}}, {"Flipud": {"p": 1}}]},
    "ChangeColorspace": {"to_colorspace": "HSV"},
    "WithColorspace": {"to_colorspace": "HSV", "children": [{"Add": {"value": 3}}]},
    "CropToFixedSize": {"width": 16, "height": 16},
    "PadToFixedSize": {"width": 40, "height": 40},
    "BlendAlpha": {"factor": 0.5, "foreground": [{"Add": {"value": 60}}]},
}


@pytest.mark.filterwarnings("ignore")  # imgaug's own kind, which another process cannot import
def test_every_augmenter_runs_or_is_refused_in_one_line(config: AugmentConfig, images: np.ndarray) -> None:
    """imgaug 0.4.0 is of 2020: what numpy and OpenCV have since broken is refused before work starts."""
    ran = set()
    for name in augmenter_names(import_imgaug()):
        steps = [{name: NEEDS.get(name, {})}]
        try:
            augmentation = make_augmentation(
                config.model_copy(update={"policies": {"mine": steps}, "engine": "imgaug"}), "mine_1"
            )
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
