"""What a run should be for given images: each choice with its reason, and the values of params.yaml that it means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache.errors import InputError
from pipeline.config.shared.featurize import ADVPROP, EFFICIENTNETS, LITE, LITE0, MINI, PRETRAINED, TIMM
from pipeline.config.shared.stages import FEATURIZE, TRAIN_HEAD, TRAIN_MODEL
from pipeline.estimate.at_hand import BackboneAtHand, Machine
from pipeline.estimate.findings import SearchFindings
from pipeline.estimate.head_choices import choose_head_by, choose_layers
from pipeline.estimate.look import Look
from pipeline.estimate.variants import choose_variants, draws_its_own
from pipeline.estimate.wishes import Choice, Wishes

SMALL = 64  # pixels: images whose shorter side is no longer keep the shipped backbone
LEAST_SIZE = 128  # that a photo backbone is used at
SIZE_STEP = 32
LARGEST_FILE = {False: 60_000_000, True: 400_000_000}  # bytes of weights that are worth their time; with a GPU?
STRONGER = "timm:tf_efficientnetv2_b0"
ELONGATED = 1.8  # longer to shorter side from which on a centre crop loses almost half of an image
FINE_TUNED = {False: 10_000, True: 200_000}  # training images up to which fine-tuning is tried; with a GPU?
MANY_FILES = 20_000
FINE_TUNING = "finetune"  # recipes
OF_PHOTOS = "finetune-photos"


def choose(look: Look, wishes: Wishes, machine: Machine, findings: SearchFindings | None = None) -> list[Choice]:
    """Everything that start decides, in the order of the story. Raises InputError if a class has too few images."""
    backbone = choose_backbone(look, wishes, machine)
    split = _split(look, wishes)
    chosen = [*_labels(look), split, *_broken(look), *_copies(look), _size(look, wishes, backbone), *_fit(look, wishes)]
    train = _training_images(look, split.changes, wishes.limit)
    variants = choose_variants(look, wishes, train, findings)
    names = variants.changes["augment.variants"]
    recipe = OF_PHOTOS if not names and draws_its_own(look, wishes, train) else FINE_TUNING
    finetune = _finetune(wishes, machine, train, recipe, split.changes["prepare.val"] != "none")
    layers = choose_layers(look.images * (1 + len(names)))
    return [
        *chosen,
        backbone.choice,
        layers,
        variants,
        choose_head_by(names),
        finetune,
        *_attacks(wishes),
        _device(wishes, machine),
    ]


def _labels(look: Look) -> list[Choice]:
    if not look.table:
        return []
    reason = "it names nearly all images; --set prepare.labels=folders takes the folders instead"
    return [Choice("labels", look.table, reason, {"prepare.labels": look.table})]


def _split(look: Look, wishes: Wishes) -> Choice:
    smallest = min(look.classes, key=lambda name: look.classes[name])
    count = look.classes[smallest]
    rule: dict[str, Any] = {"val": 0.1, "test": 0.2} if count >= 3 else {"val": "none", "test": 1}
    values = {split: "official" if split in look.official else rule[split] for split in ("val", "test")}
    reasons = [f"the source has {' and '.join(look.official)} of its own"] if look.official else []
    if count < 2 and "official" not in values.values():
        remedy = "Add images, or take the class away."
        raise InputError(
            "a class has too few images that can be read",
            where=smallest,
            expected="at least 2, better 20 or more",
            found=count,
            remedy=remedy,
        )
    if "official" not in (values["val"], values["test"]) or count < 3:
        reasons.append(f"at least one image of each class in each split; the smallest class, {smallest}, has {count:,}")
    given = {split: wish for split, wish in (("val", wishes.val), ("test", wishes.test)) if wish is not None}
    values |= given
    changes = {f"prepare.{split}": value for split, value in values.items()}
    shown = ", ".join(f"{split} {value}" for split, value in values.items())
    return Choice("split", shown, "; ".join([*(["as you say"] if given else []), *reasons]), changes)


def _training_images(look: Look, split: Mapping[str, Any], limit: int | None) -> int:
    """Roughly how many images are left to train on. limit: per class."""
    held = 0.0
    for value in split.values():
        held += value * look.images if isinstance(value, float) else 0
        held += value * len(look.classes) if isinstance(value, int) else 0
    left = round(look.images - held)
    return left if limit is None else min(left, limit * len(look.classes))


def _broken(look: Look) -> list[Choice]:
    if not look.unreadable:
        return []
    reason = f"{len(look.unreadable):,} of those looked into cannot be read; prepare lists them all"
    return [Choice("unreadable", "left out", reason, {"prepare.unreadable": "allow"})]


def _copies(look: Look) -> list[Choice]:
    if not look.copies:
        return []
    reason = "one of each is kept, so that no image is in two splits; none if its copies are of different classes"
    return [Choice("copies", "removed", reason, {"prepare.duplicates": "remove"})]


@dataclass(frozen=True)
class _Backbone:
    choice: Choice
    size: int


def choose_backbone(look: Look, wishes: Wishes, machine: Machine) -> _Backbone:
    """The strongest at hand that is worth its time; the shipped one for small images."""
    side = int(np.median(look.sides[:, 0]))
    shipped = BackboneAtHand(LITE0, ADVPROP, 0, SMALL)
    if wishes.backbone is not None:
        known = next((own for own in machine.backbones if own.name == wishes.backbone), None)
        weights = wishes.weights or (known.weights if known else usual_weights(wishes.backbone))
        here = "on this disk" if known or weights not in (ADVPROP, "imagenet", PRETRAINED) else "downloaded once"
        return _Backbone(_backbone_choice(wishes.backbone, weights, f"as you say; its weights are {here}"), 0)
    if side <= SMALL:
        reason = f"shipped, for images of about {side} px"
        return _Backbone(_backbone_choice(shipped.name, wishes.weights or shipped.weights, reason), shipped.size)
    limit = LARGEST_FILE[bool(machine.gpu)]
    fitting = [own for own in machine.backbones if own.bytes <= limit] or [shipped]
    best = max(fitting, key=lambda own: own.bytes)
    reason = f"the strongest on this disk that {'a GPU' if machine.gpu else 'a processor'} computes quickly"
    if best.name in (*LITE, MINI):
        reason += f"; stronger, after a download of 29 MB: --backbone {STRONGER}"
    return _Backbone(_backbone_choice(best.name, wishes.weights or best.weights, reason), best.size)


def usual_weights(backbone: str) -> str:
    """The published weights of a backbone that are taken if none are named."""
    if backbone.startswith(TIMM):
        return PRETRAINED
    if backbone in LITE:
        return "imagenet"
    return ADVPROP if backbone == MINI or backbone in EFFICIENTNETS else "random"


def _backbone_choice(name: str, weights: str, reason: str) -> Choice:
    changes = {"featurize.backbone": name, "featurize.weights": weights}
    return Choice("backbone", f"{name}, weights {weights}", reason, changes)


def _size(look: Look, wishes: Wishes, backbone: _Backbone) -> Choice:
    side = int(np.median(look.sides[:, 0]))
    if wishes.size is not None:
        return _size_choice(wishes.size, "as you say")
    if backbone.size == 0 or side >= backbone.size or backbone.size <= SMALL:
        return _size_choice("auto", "what the backbone was trained on")
    size = max(LEAST_SIZE, side // SIZE_STEP * SIZE_STEP)
    return _size_choice(min(size, backbone.size), f"half of the images are below {side + 1} px")


def _size_choice(size: int | str, reason: str) -> Choice:
    return Choice(
        "size",
        f"{size} px" if isinstance(size, int) else size,
        reason,
        {"featurize.size": size, "prepare.size": "auto", "augment.size": "auto"},
    )


def _fit(look: Look, wishes: Wishes) -> list[Choice]:
    ratios = look.sides[:, 1] / look.sides[:, 0]
    if wishes.fit is not None:
        return [Choice("fit", wishes.fit, "as you say", {"prepare.fit": wishes.fit})]
    ratio = float(np.median(ratios))
    if ratio > ELONGATED:
        reason = f"half of the images are {ratio:.1f} times as long as wide or more; a crop would lose most of them"
        return [Choice("fit", "pad", reason, {"prepare.fit": "pad"})]
    if (ratios > 1.02).any():
        kept = 100 / float(ratios.max())
        reason = f"the centre square of each image; of the longest {kept:.0f} % is kept; --fit pad keeps all of it"
        return [Choice("fit", "crop", reason, {"prepare.fit": "crop"})]
    return []


def _finetune(wishes: Wishes, machine: Machine, train: int, recipe: str, has_val: bool) -> Choice:
    most = FINE_TUNED[bool(machine.gpu)]
    wanted = (train <= most and has_val) if wishes.finetune is None else wishes.finetune
    reason = "as you say"
    if wishes.finetune is None:
        where = "a GPU" if machine.gpu else "a processor"
        reason = f"about {train:,} training images are {'few enough' if train <= most else 'too many'} for {where}"
        reason += "; val decides whether it is used" if wanted else ""
        reason = reason if has_val else "there is no val split to decide whether it helps"
    reason += "; each batch is changed at random" if wanted and recipe == OF_PHOTOS else ""
    changes = {"train_model.recipe": recipe if wanted else "none"}
    return Choice("fine-tuning", "yes" if wanted else "no", reason, changes)


def without_finetuning(minutes: float, limit: float) -> Choice:
    """The choice that replaces fine-tuning if everything would take too long."""
    reason = f"the whole would take {minutes:,.0f} minutes, more than --minutes {limit:g}"
    return Choice("fine-tuning", "no", reason, {"train_model.recipe": "none"})


def _attacks(wishes: Wishes) -> list[Choice]:
    if wishes.attacks:
        return []
    reason = "few need to know how a classifier withstands an attacker; --attacks measures it"
    return [Choice("attacks", "none", reason, {"evaluate.attacks": []})]


def _device(wishes: Wishes, machine: Machine) -> Choice:
    here = machine.gpu or f"{machine.threads} processor threads; no GPU is usable"
    device = wishes.device or "auto"
    sections = (FEATURIZE, TRAIN_HEAD, TRAIN_MODEL)
    return Choice("device", device, here, {f"{section}.device": device for section in sections})
