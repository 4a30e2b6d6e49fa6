"""Recipes are what the reports state, name what they leave open, and refuse what cannot be in one line."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cache.errors import ParamsError
from pipeline.config import recipe as module
from pipeline.config.recipe import FOLDER, AugmentationConfig, Recipe, read_recipe, recipe_names
from pipeline.config.shared.networks import ResNetV2Config, WideResNetConfig
from pipeline.networks.factory import count_parameters, make_network

OF_NO_REPORT = {"plain", "finetune", "finetune-photos", "pretrain", "002-prop-fast"}
REPORTED = [name for name in recipe_names() if name not in OF_NO_REPORT]
NAMES = ["plain", *REPORTED]
MIXED = {"augmentation.cutmix.alpha": 1.0, "augmentation.mixup.alpha": 0.2}
ADAM = {"optimizer": "adam", "lr": 1e-5}
RAND_7 = {"augmentation.randaugment.magnitude": 7, "augmentation.randaugment.std": 0.5}
A3 = {
    "batch": 50,
    "precision": "float16",
    "epochs": 300,
    **ADAM,
    "lr_schedule": "cosine",
    **RAND_7,
    **MIXED,
    "network.spp": True,
    "network.activation": "mish",
    "label_smoothing": 0,
    "adversary": None,
}
A4 = A3 | {"epochs": 325, "optimizer": "adamw"}
del A4["adversary"]
STANDARD = {
    "batch": 128,
    "lr": 0.1,
    "augmentation.crop_padding": 4,
    "augmentation.flip": 0.5,
    "augmentation.rotation": 0,
    "augmentation.translation": 0,
    "augmentation.shear": 0,
    "augmentation.grayscale": 0,
    "augmentation.cutmix": None,
    "swa": None,
}
BASELINE = {
    "batch": 128,
    "epochs": 120,
    "optimizer": "sgd",
    "momentum": 0.9,
    "lr": 0.1,
    "lr_schedule": "steps",
    "milestones": [60 / 120, 90 / 120],
    "gamma": 0.1,
    "warmup_epochs": 0,
}
STATED: dict[str, dict[str, Any]] = {
    "000-a1": {
        "batch": 30,
        "precision": "float32",
        "epochs": 250,
        **ADAM,
        "lr_schedule": "constant",
        "augmentation.autoaugment": "imagenet",
        "augmentation.randaugment": None,
        "augmentation.flip": 0.5,
        "augmentation.cutmix": None,
        "augmentation.mixup": None,
        "network.spp": False,
        "label_smoothing": 0,
        "adversary": None,
    },
    "000-a2": {
        "batch": 70,
        "precision": "float16",
        "epochs": 250,
        **ADAM,
        "min_lr": 1e-6,
        "augmentation.autoaugment": None,
        "augmentation.randaugment.magnitude": 15,
        "augmentation.cutmix": None,
        "augmentation.mixup": None,
        "network.spp": False,
        "network.activation": "mish",
        "network.norm": "batch",
        "label_smoothing": 0.1,
        "adversary": None,
    },
    "000-a3": A3,
    "000-a4": A4 | {"adversary.norms": "shared"},
    "000-a5": A4 | {"lr": 1e-3, "adversary.norms": "shared"},
    "000-gelu": {"network.activation": "gelu", "network.norm": "batch"},
    "000-gelu-layernorm": {"network.activation": "gelu", "network.norm": "layer"},
    "000-swish": {"network.activation": "swish", "network.norm": "batch"},
    "002-v2-20-standard": STANDARD | {"network.widths": [16, 32, 64], "network.blocks": 3},
    "002-v2-20-t1": {"augmentation.rotation": 15, "augmentation.translation": 0.1, "augmentation.shear": 0},
    "002-v2-20-t2": {"augmentation.rotation": 30, "augmentation.translation": 0.2, "augmentation.shear": 10},
    "002-v2-20-swa": {"swa.start": 0.75},
    "002-prop-standard": STANDARD | {"network.widths": [64, 128, 256, 512], "network.blocks": 2},
    "002-prop-t1": {"augmentation.rotation": 15, "augmentation.translation": 0.1, "augmentation.shear": 0},
    "002-prop-t2": {"augmentation.rotation": 30, "augmentation.translation": 0.2, "augmentation.shear": 10},
    "002-prop-t3": STANDARD | {"augmentation.grayscale": 0.1},
    "002-prop-swa": {"swa.start": 0.75},
    "003-cbam": {
        "network.widths": [30, 60, 120, 240],
        "network.blocks": [2, 2, 5, 3],
        "network.attention": "cbam",
        "network.dropout": 0.05,
        "parameter_limit": 5_000_000,
        "batch": 128,
        "epochs": 200,
        "optimizer": "adamw",
        "weight_decay": 0.005,
        "adam_eps": 1e-8,
        "lr_schedule": "onecycle",
        "lr": 0.002,
        "rise": 0.1,
        "label_smoothing": 0.05,
        "augmentation.cutmix.probability": 0.25,
        "augmentation.crop_padding": 4,
        "augmentation.flip": 0.5,
        "augmentation.erasing": 0.5,
        "augmentation.jitter": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2},
    },
    "004-baseline": BASELINE | {"weight_decay": 0.0005, "label_smoothing": 0, "sampling": "shuffled"},
    "004-augmented": BASELINE
    | {
        "augmentation.crop_padding": 4,
        "augmentation.rotation": 15,
        "augmentation.grayscale": 0.1,
        "augmentation.jitter": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2},
    },
    "004-balanced": BASELINE
    | {
        "sampling": "balanced",
        "label_smoothing": 0.1,
        "augmentation.cutmix": {"probability": 0.5, "alpha": 1.0},
        "augmentation.crop_padding": 0,
        "augmentation.rotation": 0,
        "augmentation.jitter": None,
        "augmentation.grayscale": 0,
    },
    "004-final": BASELINE
    | {
        "sampling": "balanced",
        "label_smoothing": 0.1,
        "augmentation.cutmix": {"probability": 0.5, "alpha": 1.0},
        "augmentation.crop_padding": 4,
        "network": {"name": "wide_resnet", "depth": 28, "width": 10, "se": True, "dropout": 0},
    },
}
PARAMETERS = {  # for ten classes
    "000-a1": 23_528_522,
    "000-a3": 26_971_850,
    "002-v2-20-standard": 272_154,
    "002-prop-standard": 11_171_146,
    "004-baseline": 11_173_962,  # the usual ResNet-18 for CIFAR-10
}


def value_of(recipe: Recipe, key: str) -> Any:
    """By a dotted key; `epochs` are those of the whole schedule."""
    if key == "epochs":
        return sum(phase.epochs for phase in recipe.schedule)
    value: Any = recipe.model_dump()
    for part in key.split("."):
        value = value[part]
    return value


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write recipes of one's own beside plain.yaml: `written(name=text, ...)`."""
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    (tmp_path / "plain.yaml").write_text((FOLDER / "plain.yaml").read_text())

    def write(**recipes: str) -> None:
        for name, text in recipes.items():
            (tmp_path / f"{name}.yaml").write_text(text)

    return write


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_says_where_it_comes_from_and_makes_a_network(name: str) -> None:
    recipe = read_recipe(name, {})
    assert recipe.source and recipe.reported and recipe.chosen
    with torch.device("meta"):
        assert count_parameters(make_network(recipe.network, 10, recipe.parameter_limit)) > 0


@pytest.mark.parametrize("name", REPORTED)
def test_a_recipe_says_for_itself_what_it_follows(name: str) -> None:
    own = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    assert own["source"].startswith(f"report {name[:3]}") and {"reported", "chosen"} <= set(own)


def test_every_stated_recipe_is_there() -> None:
    assert sorted(STATED) == REPORTED


@pytest.mark.parametrize("name", STATED)
def test_what_a_report_states_holds(name: str) -> None:
    recipe = read_recipe(name, {})
    assert {key: value_of(recipe, key) for key in STATED[name]} == STATED[name]


def test_both_mixings_leave_no_batch_of_a3_as_it_was() -> None:
    augmentation = read_recipe("000-a3", {}).augmentation
    assert augmentation.cutmix and augmentation.mixup
    assert augmentation.cutmix.probability == augmentation.mixup.probability == 1


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_networks_are_as_large_as_stated(name: str, count: int) -> None:
    with torch.device("meta"):
        assert count_parameters(make_network(read_recipe(name, {}).network, 10)) == count


def test_plain_holds_every_value() -> None:
    plain = yaml.safe_load((FOLDER / "plain.yaml").read_text(encoding="utf-8"))
    assert list(plain) == list(Recipe.model_fields)
    assert list(plain["augmentation"]) == list(AugmentationConfig.model_fields)


def test_an_override_is_merged_mapping_by_mapping() -> None:
    changes = {"lr": 0.5, "augmentation": {"flip": 0}, "network": {"blocks": 1}, "schedule": ["unaugmented x 2"]}
    before = read_recipe("002-v2-20-t1", {})
    after = read_recipe("002-v2-20-t1", changes)
    assert (after.lr, after.augmentation.flip, value_of(after, "epochs")) == (0.5, 0, 2)
    assert after.augmentation == before.augmentation.model_copy(update={"flip": 0})
    assert after.network == ResNetV2Config(name="resnetv2", widths=[16, 32, 64], blocks=1)


def test_a_network_of_another_name_replaces_the_whole() -> None:
    wide = {"name": "wide_resnet", "depth": 16, "width": 4, "se": False, "dropout": 0.0}
    assert read_recipe("003-cbam", {"network": wide}).network == WideResNetConfig.model_validate(wide)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ({"lrr": 1}, "'lrr'. Did you mean 'lr'?"),
        ({"lr": 0}, "plain.yaml lr: input should be greater than 0; found 0. It is peak learning rate"),
        ({"optimizer": "lion"}, "plain.yaml optimizer: input should be 'sgd', 'adam' or 'adamw'; found 'lion'"),
        ({"schedule": ["unaugmented"]}, "a phase is `<variant> x <epochs>`"),
        ({"batch": 1}, "plain.yaml batch: input should be greater than or equal to 2"),
        ({"milestones": [60, 90]}, "plain.yaml milestones"),
        ({"precision": "float64"}, "plain.yaml precision"),
        ({"momentum": 0}, "plain.yaml nesterov: nesterov needs a momentum above 0"),
        ({"augmentation": {"flip": 2}}, "plain.yaml augmentation"),
        ({"augmentation": {"flop": 0.5}}, "plain.yaml augmentation"),
        ({"augmentation": None}, "plain.yaml augmentation"),
        ({"network": {"name": "resnet"}}, "does not match any of the expected tags: 'resnet50', 'resnetv2'"),
        ({"network": {"width": 3}}, "plain.yaml network"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_file(override: dict[str, Any], says: str) -> None:
    with pytest.raises(ParamsError) as error:
        read_recipe("plain", override)
    assert says in str(error.value) and str(error.value).startswith("pipeline/recipes/plain.yaml")
    assert "\n" not in str(error.value)


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ParamsError, match=r"recipe: .*none, 000-a1, .*plain.*Did you mean '002-v2-20-standard'"):
        read_recipe("002-v2-20-standart", {})


def test_a_value_goes_down_from_base_to_base(written: Any) -> None:
    written(middle="base: plain\nlr: 0.3\naugmentation: {flip: 0.1, shear: 5}", top="base: middle\nlr: 0.2")
    top = read_recipe("top", {"augmentation": {"shear": 6}})
    assert (top.lr, top.augmentation.flip, top.augmentation.shear, top.augmentation.crop_padding) == (0.2, 0.1, 6, 4)


@pytest.mark.parametrize(
    ("recipes", "says"),
    [
        ({"one": "base: one"}, "one.yaml: recipes are each other's base; found one"),
        ({"one": "base: two", "two": "base: three", "three": "base: two"}, "three.yaml: recipes are each other's base"),
        ({"one": "base: plane"}, "'plane'. Did you mean 'plain'?"),
        ({"one": "- lr"}, "one.yaml: is not a mapping"),
        ({"one": "lr: 0.1"}, "pipeline/recipes/one.yaml source: key is missing"),
        ({"one": "base: plain\nlr: ["}, "one.yaml: cannot be read: while parsing"),
    ],
)
def test_a_recipe_file_that_cannot_be_read_is_refused(written: Any, recipes: dict[str, str], says: str) -> None:
    written(**recipes)
    with pytest.raises(ParamsError) as error:
        read_recipe("one", {})
    assert says in str(error.value) and "\n" not in str(error.value)
