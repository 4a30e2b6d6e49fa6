"""A classifier is used with what it was trained on: its own recipe decides, and what contradicts it is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import noise, tiny_bundle

from cache.errors import InputError, ParamsError, StorageError
from pipeline.config.params import read_params
from pipeline.config.shared.featurize import FeaturizeConfig
from pipeline.features.featurizer import Featurizer
from pipeline.inference import restore
from pipeline.inference.bundle import Bundle, open_bundle, overruled
from pipeline.inference.classifier import HeadClassifier, save_classifier
from pipeline.inference.restore import FeaturizedHead, Project, asked_values, open_classifier, trained_config
from pipeline.ingest.decode import DecodeOptions

ROOT = Path(__file__).resolve().parents[3]
PARAMS = ROOT / "params.yaml"


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """`save(bundle, **recipe)`: its head alone, in a folder as train_head writes it."""

    def write(bundle: Bundle, **recipe: object) -> Path:
        folder = tmp_path / "data" / "train_head"
        head = bundle.classifier.head  # type: ignore[union-attr]
        save_classifier(folder, replace(head, recipe=head.recipe | recipe))
        return folder

    return write


def project(folder: Path, *overrides: str) -> Project:
    """The default parameters, as far as they are not overridden."""
    params = read_params(ROOT / "params.yaml", list(overrides))
    return Project(folder.parent, params.featurize, asked_values(params.sections, overrides))


def test_the_recipe_decides_and_not_the_params_of_the_moment(save: Callable[..., Path]) -> None:
    bundle = tiny_bundle(32, "featurize.preprocessing=advprop", "featurize.interpolation=bilinear")
    folder = save(bundle, image_size=32, weights_name="random")
    images = noise(9, 32)
    restored = open_classifier(folder, project(folder))
    assert np.array_equal(restored.probabilities(images), bundle.predict(images))


def test_weights_by_path_are_found_where_featurize_recorded_them(save: Callable[..., Path], tmp_path: Path) -> None:
    bundle = tiny_bundle()
    folder = save(bundle, image_size=32)
    with pytest.raises(InputError, match="weights that the head was trained on are not found; expected weights of eff"):
        open_classifier(folder, project(folder))
    runs = tmp_path / "data" / "runs"
    runs.mkdir()
    (runs / "featurize.json").write_text(json.dumps({"params": {"weights": "random"}}))
    assert isinstance(open_classifier(folder, project(folder)), FeaturizedHead)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("prepare.size=16", "--set prepare.size: the classifier was trained with another value; expected 32, found 16"),
        ("featurize.size=64", "--set featurize.size: .* expected 32, found 64"),
        ("featurize.interpolation=bilinear", "--set featurize.interpolation: .* expected bicubic, found bilinear"),
        ("featurize.preprocessing=advprop", "--set featurize.preprocessing: .* expected imagenet, found advprop"),
        ("featurize.dtype=float32", "--set featurize.dtype: .* expected float16, found float32"),
        ("featurize.engine=eager", "--set featurize.engine: .* expected onnx, found eager"),
    ],
)
def test_a_contradiction_is_refused_with_both_values(save: Callable[..., Path], override: str, line: str) -> None:
    folder = save(tiny_bundle(), image_size=32, weights_name="random", engine="onnx")
    base = ("featurize.backbone=efficientnet:0.25x0.2/2", "featurize.weights=random")
    with pytest.raises(ParamsError, match=line) as caught:
        open_classifier(folder, project(folder, *base, override))
    assert "\n" not in str(caught.value)


def test_values_that_agree_or_leave_it_open_are_accepted(save: Callable[..., Path]) -> None:
    folder = save(tiny_bundle(), image_size=32)
    same = ("featurize.backbone=efficientnet:0.25x0.2/2", "featurize.weights=random", "featurize.size=32")
    opened = open_classifier(folder, project(folder, *same, "prepare.size=32", "featurize.preprocessing=auto"))
    assert isinstance(opened, FeaturizedHead)


def test_an_old_classifier_takes_the_stored_size_from_the_manifest(save: Callable[..., Path], tmp_path: Path) -> None:
    folder = save(tiny_bundle(), weights_name="random")
    with pytest.raises(StorageError, match="does not say to which size its images were brought"):
        open_classifier(folder, project(folder))
    (tmp_path / "data" / "prepare").mkdir()
    (tmp_path / "data" / "prepare" / "manifest.json").write_text('{"size": 24}')
    with pytest.raises(ParamsError, match=r"prepare\.size: .* expected 24, found 32"):
        open_classifier(folder, project(folder, "prepare.size=32"))
    assert restore.image_size_of(tiny_bundle().classifier.head, project(folder), folder) == 24  # type: ignore[union-attr]


def test_an_engine_that_cannot_run_is_replaced_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle()
    whole = bundle.classifier
    assert isinstance(whole, FeaturizedHead)
    config = whole.featurizer.config.model_copy(update={"engine": "compile"})
    own = Featurizer.__call__

    def without_compiler(self: Featurizer, images: np.ndarray, keys: np.ndarray) -> np.ndarray:
        if self.engine == "compile":
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found")
        return own(self, images, keys)

    monkeypatch.setattr(Featurizer, "__call__", without_compiler)
    restored = restore.make_featurized_head(whole.head, Featurizer(config))
    assert restored.featurizer.engine == "eager"
    assert restored.note.startswith("engine compile does not run here (InvalidCxxCompiler")
    # float16 features: two engines may round one feature to neighbouring values, 2**-11 of it apart
    np.testing.assert_allclose(restored.probabilities(noise(4, 32)), bundle.predict(noise(4, 32)), atol=2**-7)


def test_every_key_of_a_recipe_comes_back(tmp_path: Path) -> None:
    for overrides in (("featurize.dtype=float32", "featurize.engine=eager"), ("featurize.engine=onnx",)):
        whole = tiny_bundle(32, *overrides).classifier
        assert isinstance(whole, FeaturizedHead)
        base: FeaturizeConfig = project(tmp_path).featurize
        again = Featurizer(trained_config(whole.head.recipe, base, "random"))
        assert again.recipe == whole.head.recipe
        assert isinstance(whole.head, HeadClassifier)


def test_values_of_params_yaml_that_do_not_hold_are_told_in_one_line(save: Callable[..., Path]) -> None:
    folder = save(tiny_bundle(), image_size=32, weights_name="random")
    sections = read_params(ROOT / "params.yaml", ["featurize.size=96", "featurize.dtype=float32"]).sections
    bundle = open_bundle(folder, project(folder))
    line = overruled(bundle, sections)
    assert "featurize.size 32, not 96" in line and "featurize.dtype float16, not float32" in line
    assert line.startswith("as the classifier was trained: prepare.size 32, not 96; ") and "\n" not in line
    mini = ("featurize.backbone=efficientnet:0.25x0.2/2", "featurize.weights=random", "featurize.size=32")
    same = (*mini, "prepare.size=32", "featurize.batch=16")
    assert overruled(bundle, read_params(ROOT / "params.yaml", same).sections) == ""


def test_the_bit_depth_of_training_reads_new_images(save: Callable[..., Path]) -> None:
    folder = save(tiny_bundle(), image_size=32, weights_name="random", bit_depth=12)
    bundle = open_bundle(folder, project(folder))
    prepare = read_params(ROOT / "params.yaml", ["prepare.bit_depth=10"]).prepare
    assert DecodeOptions.of(prepare, bundle.bit_depth).bit_depth == 12
    assert DecodeOptions.of(prepare, tiny_bundle().bit_depth).bit_depth == 10
    assert "prepare.bit_depth 12, not 10" in overruled(bundle, {**read_params(PARAMS).sections, "prepare": prepare})
    with pytest.raises(ParamsError, match=r"prepare\.bit_depth: .* expected 12, found 10"):
        open_classifier(folder, project(folder, "prepare.bit_depth=10"))
