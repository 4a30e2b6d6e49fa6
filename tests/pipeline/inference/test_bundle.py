"""A bundle predicts what the project does, and a damaged or foreign one is refused in one line."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from bundles import CLASSES, noise, tiny_bundle
from PIL import Image
from rounding import of_sums

from cache.errors import DamagedFile, FileError, ForeignFile, NewerFile, RecordError, StorageError
from pipeline.features.featurizer import Featurizer
from pipeline.inference.bundle import Bundle, load_bundle, save_bundle
from pipeline.inference.restore import FeaturizedHead
from pipeline.ingest.archive import Unreadable
from pipeline.ingest.decode import squared


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return tiny_bundle()


@pytest.fixture
def saved(tmp_path: Path, bundle: Bundle) -> Path:
    save_bundle(tmp_path / "bundle", bundle, b"an ONNX file", {"revision": "abc"})
    return tmp_path / "bundle"


def test_a_loaded_bundle_predicts_the_same_bits_wherever_it_lies(saved: Path, bundle: Bundle) -> None:
    images = noise(20, 32)
    moved = saved.rename(saved.with_name("elsewhere"))
    loaded = load_bundle(str(moved))
    assert loaded.classes == CLASSES
    assert np.array_equal(loaded.predict(images), bundle.predict(images))
    assert len(np.unique(loaded.predict(images).argmax(axis=1))) > 1


def test_predictions_are_those_of_features_and_head_at_the_temperature(bundle: Bundle) -> None:
    images = noise(5, 32)
    whole = bundle.classifier
    assert isinstance(whole, FeaturizedHead)
    features = whole.featurizer(images, np.empty(5, dtype="S64"))
    assert np.array_equal(bundle.predict(images), whole.head.probabilities(features))
    warm = replace(bundle, classifier=replace(whole, head=replace(whole.head, temperature=5.0)))
    assert warm.predict(images).max() < bundle.predict(images).max()


def test_images_of_any_size_are_squared_as_prepare_does_it(bundle: Bundle) -> None:
    wide = np.ascontiguousarray(noise(1, 80)[0, :40])
    tall = np.ascontiguousarray(noise(1, 80)[0, :, :50])
    expected = bundle.predict(np.stack([squared(wide, 32), squared(tall, 32)]))
    assert np.array_equal(bundle.predict([wide, tall]), expected)
    assert bundle.predict([]).shape == (0, 3)


def test_views_are_averaged(bundle: Bundle) -> None:
    images = noise(4, 32)
    flipped = images[:, :, ::-1].copy()
    mean = (bundle.predict(images) + bundle.predict(flipped)) / 2
    np.testing.assert_allclose(bundle.predict(images, ["flip"]), mean, atol=of_sums(8))


@pytest.mark.parametrize("wrong", [np.zeros((1, 8, 8)), np.zeros((1, 8, 8, 3)), np.zeros((1, 8, 8, 1), np.uint8)])
def test_other_arrays_are_refused(bundle: Bundle, wrong: np.ndarray) -> None:
    with pytest.raises(RecordError, match=r"image has the wrong form; expected uint8 \[h, w, 3\]"):
        bundle.predict(wrong)


def test_a_head_of_another_backbone_is_refused(bundle: Bundle) -> None:
    whole = bundle.classifier
    assert isinstance(whole, FeaturizedHead)
    other = Featurizer(whole.featurizer.config.model_copy(update={"size": 64}))
    with pytest.raises(RecordError, match="another backbone"):
        FeaturizedHead(other, whole.head)


@pytest.mark.parametrize("name", ["backbone.safetensors", "head.safetensors", "classifier.json", "model.onnx"])
def test_a_changed_or_missing_file_is_named(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DamagedFile, match=f"{name}: checksum does not match"):
        load_bundle(saved)
    (saved / name).unlink()
    with pytest.raises(DamagedFile, match=f"{name}: cannot be read"):
        load_bundle(saved)


def test_what_is_no_bundle_is_refused_in_one_line(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no bundle; expected bundle\.json"):
        load_bundle(tmp_path)
    card = saved / "bundle.json"
    whole = json.loads(card.read_text())
    for text, kind in (
        ("{", DamagedFile),
        ("[]", ForeignFile),
        (json.dumps({**whole, "version": 4}), NewerFile),
        (json.dumps({**whole, "files": {"../../etc/passwd": "0"}}), DamagedFile),
        (json.dumps({**whole, "size": "big"}), DamagedFile),
        (json.dumps({**whole, "featurize": {**whole["featurize"], "backbone": "resnet"}}), DamagedFile),
        (json.dumps({**whole, "featurize": {**whole["featurize"], "size": 64}}), DamagedFile),
    ):
        card.write_text(text)
        with pytest.raises(FileError) as caught:
            load_bundle(saved)
        assert isinstance(caught.value, kind) and "\n" not in str(caught.value)


def test_an_interrupted_save_leaves_no_card(saved: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path, classifier: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.inference.bundle.save_classifier", refuse)
    with pytest.raises(KeyboardInterrupt):
        save_bundle(saved, bundle, b"", {})
    with pytest.raises(StorageError, match="no bundle"):
        load_bundle(saved)


def test_images_are_taken_as_programs_hold_them(bundle: Bundle, tmp_path: Path) -> None:
    pixels = noise(1, 48)[0]
    image = Image.fromarray(pixels)
    image.save(tmp_path / "photo.png")
    expected = bundle.predict([pixels])
    for same in (pixels, image, [image], image.convert("RGBA"), tmp_path / "photo.png", str(tmp_path / "photo.png")):
        np.testing.assert_array_equal(bundle.predict(same), expected)
    turned = image.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # turn it back
    np.testing.assert_array_equal(bundle.predict(turned), expected)
    for mode in ("1", "L", "LA", "P", "CMYK", "F", "YCbCr"):
        held = image.convert(mode)
        if mode == "F":
            held = held.point(lambda value: value / 255)
        assert bundle.predict(held).shape == (1, 3)


def test_what_is_no_image_is_one_line(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    for wrong, error, line in (
        ([3], RecordError, "image has the wrong form; expected uint8 .* found int"),
        (tmp_path / "gone.png", Unreadable, r"gone\.png: cannot be read: No such file"),
        (tmp_path / "a.jpg", Unreadable, r"a\.jpg: is no image"),
    ):
        with pytest.raises(error, match=line):
            bundle.predict(wrong)  # type: ignore[arg-type]


def test_views_and_a_missing_onnx_file_travel_with_the_bundle(bundle: Bundle, tmp_path: Path) -> None:
    images = noise(4, 32)
    averaged = replace(bundle, views=("flip",))
    save_bundle(tmp_path / "bundle", averaged, None, {})
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.views == ("flip",)
    np.testing.assert_array_equal(loaded.predict(images), bundle.predict(images, ["flip"]))
    np.testing.assert_array_equal(loaded.predict(images, ()), bundle.predict(images))
    assert json.loads((tmp_path / "bundle" / "bundle.json").read_text())["version"] == 2


def test_a_bundle_that_version_1_can_read_says_so(saved: Path) -> None:
    card = json.loads((saved / "bundle.json").read_text())
    assert card["version"] == 1 and "views" not in card


BACKBONES = ("efficientnet:0.25x0.2/2", "timm:resnet10t", "timm:efficientnet_lite0", "timm:tf_efficientnetv2_b0")
MATRIX = list(product(BACKBONES, ("imagenet", "advprop"), (("eager", "float16"), ("onnx", "float32"))))
EVERY_OTHER = [case for number, case in enumerate(MATRIX) if number % 4 in {0, 3}]  # each two of three values meet


@pytest.mark.parametrize("cases", [EVERY_OTHER, pytest.param(MATRIX, marks=pytest.mark.long)])
def test_every_kind_of_classifier_gives_the_same_in_a_fresh_process_elsewhere(
    cases: list[tuple[str, str, tuple[str, str]]], tmp_path: Path
) -> None:
    """Bit for bit: the machine is the same, so the engine is."""
    images = noise(4, 32)
    np.save(tmp_path / "images.npy", images)
    for number, (backbone, preprocessing, (engine, dtype)) in enumerate(cases):
        values = {"backbone": backbone, "preprocessing": preprocessing, "engine": engine, "dtype": dtype}
        bundle = tiny_bundle(32, *(f"featurize.{key}={value}" for key, value in values.items()))
        save_bundle(tmp_path / "here" / str(number), bundle, b"", {})
        np.save(tmp_path / f"{number}.npy", bundle.predict(images))
    (tmp_path / "here").rename(tmp_path / "elsewhere")
    code = (
        "import numpy, sys\n"
        "from pipeline.inference.bundle import load_bundle\n"
        "for number in range(int(sys.argv[1])):\n"
        "    bundle = load_bundle(f'elsewhere/{number}')\n"
        "    probabilities = bundle.predict(numpy.load('images.npy'))\n"
        "    if bundle.note or not numpy.array_equal(probabilities, numpy.load(f'{number}.npy')):\n"
        "        sys.exit(f'{number} differs {bundle.note}')\n"
    )
    own = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    command = [sys.executable, "-P", "-c", code, str(len(cases))]
    done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
