"""Sizes follow the backbone: `auto` is what its weights were trained on, for stored and augmented images too."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cache.errors import ParamsError
from pipeline.config.params import read_params
from pipeline.config.shared.featurize import input_size, with_sizes

ROOT = Path(__file__).resolve().parents[3]
PARAMS = ROOT / "params.yaml"
SIZES = {
    "efficientnet-mini": 64,
    "efficientnet-lite0": 224,
    "efficientnet-lite2": 260,
    "efficientnet-b0": 224,
    "efficientnet-b4": 380,
    "efficientnet-b8": 672,
    "efficientnet:0.25x0.2/2": 64,
    "timm:tf_efficientnetv2_b0": 192,
    "timm:vit_small_patch14_dinov2": 518,
    "timm:inception_v3": 299,
    "timm:tf_efficientnet_b4_ap": 380,
}


def sizes_of(*overrides: str) -> tuple[int, int, int]:
    params = read_params(PARAMS, [*overrides])
    return params.prepare.size, params.augment.size, params.featurize.size


@pytest.mark.parametrize(("backbone", "size"), SIZES.items())
def test_auto_is_what_the_weights_were_trained_on_for_all_stages(backbone: str, size: int) -> None:
    assert input_size(backbone, "random") == size
    assert sizes_of(f"featurize.backbone={backbone}", "featurize.weights=random") == (size, size, size)


def test_the_default_stays_at_64_pixels() -> None:
    assert sizes_of() == (64, 64, 64)
    written = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    assert {written[name]["size"] for name in ("prepare", "augment", "featurize")} == {"auto"}


def test_a_number_stays_and_auto_follows_featurize_s_number() -> None:
    assert sizes_of("prepare.size=32", "featurize.size=48") == (32, 48, 48)
    assert sizes_of("augment.size=16") == (64, 16, 64)


def test_an_unknown_backbone_is_refused_before_any_size_is_guessed() -> None:
    with pytest.raises(ParamsError, match=r"featurize\.backbone: unknown name"):
        read_params(PARAMS, ["featurize.backbone=efficientnet_b0"])
    with pytest.raises(ParamsError, match="timm has no such model"):
        read_params(PARAMS, ["featurize.backbone=timm:resnet_18", "featurize.weights=random"])


@pytest.mark.parametrize("section", ["prepare", "augment", "featurize"])
def test_other_words_than_auto_are_one_line(section: str) -> None:
    with pytest.raises(ParamsError, match=rf"{section}\.size: .*found 'automatic'"):
        read_params(PARAMS, [f"{section}.size=automatic"])


def test_values_without_auto_need_no_featurize_section() -> None:
    values = {"prepare": {"size": 32}, "other": 1}
    assert with_sizes(values) == values


def test_sizes_of_our_own_backbones_import_neither_torch_nor_timm() -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.config.params import read_params\n"
        "params = read_params(Path('params.yaml'), ['featurize.backbone=efficientnet-b0'])\n"
        "assert params.prepare.size == 224; print(sorted({'torch', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_a_changed_backbone_reruns_the_stages_whose_size_is_auto() -> None:
    """DVC compares the values that a stage lists; `auto` itself does not change."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name in ("prepare", "augment"):
        assert {"featurize.backbone", "featurize.size"} <= set(stages[name]["params"])


def test_the_backbone_auto_is_the_shipped_one_with_the_same_key() -> None:
    auto, named = (
        read_params(PARAMS, [f"featurize.backbone={name}"]).featurize for name in ("auto", "efficientnet-lite0")
    )
    assert auto == named and auto.size == 64 and auto.backbone_arguments == named.backbone_arguments
