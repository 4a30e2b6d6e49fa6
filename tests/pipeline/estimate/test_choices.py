"""Choices follow from what the images are and from what is at hand, and a wish comes before any rule."""

from typing import Any

import pytest

from cache.errors import InputError
from pipeline.estimate.at_hand import BackboneAtHand, Machine
from pipeline.estimate.choices import choose
from pipeline.estimate.look import Look, OpenedImage
from pipeline.estimate.wishes import Choice, Wishes

LITE0 = BackboneAtHand("efficientnet-lite0", "imagenet", 17_000_000, 224)
V2 = BackboneAtHand("timm:tf_efficientnetv2_b0.in1k", "pretrained", 29_000_000, 224)
HUGE = BackboneAtHand("timm:huge", "pretrained", 200_000_000, 384)
CPU = Machine("", 2, (LITE0,))


def look(side: int = 300, longer: int | None = None, classes: dict[str, int] | None = None, **more: Any) -> Look:
    opened = [OpenedImage(f"{number}.jpg", b"%d" % number, "JPEG", side, longer or side) for number in range(9)]
    return Look(classes or {"ant": 50, "bee": 40}, more.get("official", {}), {}, more.get("opened", opened), [])


def chosen(seen: Look, wishes: Wishes | None = None, machine: Machine = CPU) -> dict[str, Any]:
    choices = choose(seen, wishes or Wishes(), machine)
    assert all(choice.reason for choice in choices)
    return {key: value for choice in choices for key, value in choice.changes.items()}


@pytest.mark.parametrize(
    ("side", "machine", "backbone", "size"),
    [
        (48, CPU, "efficientnet-lite0", "auto"),
        (64, CPU, "efficientnet-lite0", "auto"),
        (65, CPU, "efficientnet-lite0", 128),
        (200, CPU, "efficientnet-lite0", 192),
        (1000, CPU, "efficientnet-lite0", "auto"),
        (1000, Machine("", 2, (LITE0, V2, HUGE)), V2.name, "auto"),
        (1000, Machine("a GPU", 2, (LITE0, V2, HUGE)), HUGE.name, "auto"),
        (1000, Machine("", 2, ()), "efficientnet-lite0", "auto"),
    ],
)
def test_backbone_and_size(side: int, machine: Machine, backbone: str, size: object) -> None:
    values = chosen(look(side), machine=machine)
    assert (values["featurize.backbone"], values["featurize.size"]) == (backbone, size)
    assert (values["prepare.size"], values["augment.size"]) == ("auto", "auto")


def test_a_stronger_backbone_is_named_but_not_downloaded() -> None:
    backbone = next(choice for choice in choose(look(), Wishes(), CPU) if choice.subject == "backbone")
    assert str(backbone).endswith("--backbone timm:tf_efficientnetv2_b0")


@pytest.mark.parametrize(
    ("classes", "official", "val", "test"),
    [
        ({"ant": 50, "bee": 40}, {}, 0.1, 0.2),
        ({"ant": 50, "bee": 3}, {}, 0.1, 0.2),
        ({"ant": 50, "bee": 2}, {}, "none", 1),
        ({"ant": 50, "bee": 40}, {"test": 9}, 0.1, "official"),
        ({"ant": 50, "bee": 40}, {"test": 9, "val": 9}, "official", "official"),
    ],
)
def test_split(classes: dict[str, int], official: dict[str, int], val: object, test: object) -> None:
    values = chosen(look(classes=classes, official=official))
    assert (values["prepare.val"], values["prepare.test"]) == (val, test)
    assert val != "none" or values["train_model.recipe"] == "none"  # nothing could tell whether it helps


def test_a_class_of_one_image_is_refused() -> None:
    with pytest.raises(InputError, match=r"bee: a class has too few images that can be read; .*, found 1"):
        choose(look(classes={"ant": 50, "bee": 1}), Wishes(), CPU)


@pytest.mark.parametrize(
    ("count", "flips", "variants", "recipe"),
    [
        (500, None, 4, "finetune"),
        (5_000, None, 0, "finetune-photos"),
        (5_000, False, 2, "finetune"),
        (40_000, None, 0, "none"),
        (40_000, False, 0, "none"),
    ],
)
def test_many_images_need_fewer_variants_and_no_fine_tuning(
    count: int, flips: bool | None, variants: int, recipe: str
) -> None:
    values = chosen(look(classes={"ant": count, "bee": count}), Wishes(flips=flips))
    assert (len(values["augment.variants"]), values["train_model.recipe"]) == (variants, recipe)
    assert len(values["train_head.schedule"]) == (variants + 2 if variants else 1)


@pytest.mark.parametrize(("count", "layers"), [(2_000, "all"), (2_001, "last")])
def test_all_layers_are_kept_of_few_rows(count: int, layers: str) -> None:
    wishes = Wishes(variants=("mild_1", "mild_2", "mild_3", "mild_4"))
    assert chosen(look(classes={"ant": count, "bee": 2_000}), wishes)["featurize.layers"] == layers


@pytest.mark.parametrize(("longer", "fit"), [(300, None), (400, "crop"), (600, "pad")])
def test_long_images_are_padded(longer: int, fit: str | None) -> None:
    assert chosen(look(300, longer)).get("prepare.fit") == fit


def test_broken_files_are_left_out_with_a_word() -> None:
    opened = [*look().opened, OpenedImage("x.jpg", b"", error="is empty")]
    lines = [str(choice) for choice in choose(look(opened=opened), Wishes(), CPU)]
    assert any(line.startswith("unreadable  left out: 1 of those looked into") for line in lines)
    assert "prepare.unreadable" not in chosen(look())


def test_every_choice_can_be_a_wish() -> None:
    wishes = Wishes(
        val=5, test="none", size=96, fit="squash", backbone="efficientnet-b1", weights="imagenet",
        variants=("color_1",), flips=False, finetune=False, device="cpu", attacks=True,
    )  # fmt: skip
    values = chosen(look(), wishes)
    assert values["prepare.val"] == 5 and values["prepare.test"] == "none"
    assert (values["featurize.size"], values["prepare.fit"]) == (96, "squash")
    assert (values["featurize.backbone"], values["featurize.weights"]) == ("efficientnet-b1", "imagenet")
    assert values["augment.variants"] == ["color_1"]
    assert values["train_model.recipe"] == "none" and values["train_head.device"] == "cpu"
    assert "evaluate.attacks" not in values


def test_a_line_names_the_choice_its_value_and_its_reason() -> None:
    assert str(Choice("size", "160 px", "as you say")) == "size        160 px: as you say"


def test_a_limit_per_class_makes_the_training_set_small() -> None:
    many = look(classes={"ant": 50_000, "bee": 50_000})
    assert chosen(many)["augment.variants"] == []
    assert chosen(many, Wishes(limit=100))["augment.variants"] == ["flip_1", "mild_1", "mild_2", "mild_3"]
