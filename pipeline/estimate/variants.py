"""Which variants start chooses: those that a search found to pay, or mild ones that fit the classes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.estimate.findings import SearchFindings
from pipeline.estimate.look import Look
from pipeline.estimate.wishes import Choice, Wishes

MANY_VARIANTS = 5_000  # training images up to which four variants are drawn
FEW_VARIANTS = 20_000  # and one of each kind, of images that must not be mirrored
SYMBOL = re.compile(r"[^\W_]|\d+")  # a letter or a number
SIDES = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)
AFFINE = {"rotate": [-8, 8], "scale": [0.9, 1.15], "translate_percent": [-0.06, 0.06]}
LIGHT = {"MultiplyAndAddToBrightness": {"mul": [0.8, 1.2], "add": [-10, 10]}}
POLICIES = {  # those of benchmarks/head_features.py
    "flip": [{"Fliplr": {"p": 1.0}}],
    "mild": [{"Fliplr": {"p": 0.5}}, {"Affine": AFFINE}, LIGHT],
    "still": [{"Affine": AFFINE}, LIGHT],
}
WITH_FLIPS: tuple[str, ...] = ("flip_1", "mild_1", "mild_2", "mild_3")
WITHOUT_FLIPS: tuple[str, ...] = ("still_1", "still_2", "still_3")
HOW_TO_SEARCH = "after the first run, python -m stages.search finds out which pay"


def choose_variants(look: Look, wishes: Wishes, train: int, findings: SearchFindings | None) -> Choice:
    """train: the number of training images. findings: of a search, if there was one; a wish comes first."""
    if wishes.variants is not None:
        return _choice(wishes.variants, POLICIES, "as you say")
    if findings is not None and wishes.flips is None:
        return _choice(findings.variants, findings.policies, _what_was_found(findings))
    against_flips = _reason_against_flips(look.classes, wishes)
    names = WITHOUT_FLIPS if against_flips else WITH_FLIPS
    if train > FEW_VARIANTS or draws_its_own(look, wishes, train):
        return _choice((), POLICIES, f"a head over {train:,} training images gains nothing from variants")
    reason = f"mild ones, as {train:,} training images are few"
    if train > MANY_VARIANTS:
        names = names[:2]
        reason = f"one or two of each kind, for {train:,} training images"
    no_flips = f"; no mirror images, {against_flips}" if against_flips else ""
    return _choice(names, POLICIES, f"{reason}{no_flips}; {HOW_TO_SEARCH}")


def draws_its_own(look: Look, wishes: Wishes, train: int) -> bool:
    """Whether fine-tuning changes each batch at random instead: of many photos, which may be mirrored."""
    return train > MANY_VARIANTS and not _reason_against_flips(look.classes, wishes)


def _choice(names: Sequence[str], policies: Mapping[str, Any], reason: str) -> Choice:
    """policies: steps by name; only those of the variants are written."""
    used = sorted({name.rpartition("_")[0] for name in names} & policies.keys())
    changes = {"augment.variants": list(names), **{f"augment.policies.{name}": policies[name] for name in used}}
    return Choice("variants", ", ".join(names) or "none", reason, changes)


def _what_was_found(findings: SearchFindings) -> str:
    said = f"search found on {findings.date}"
    if not findings.variants:
        return f"{said} that no policy pays"
    return f"{said} that they lower the cross entropy of unseen images by {findings.gain:.3f} ± {findings.error:.3f}"


def _reason_against_flips(classes: Iterable[str], wishes: Wishes) -> str:
    """Why variants are not mirrored; empty if they are. Mirrored, a letter or a left side may be of another class."""
    if wishes.flips is not None:
        return "" if wishes.flips else "as you say"
    names = list(classes)
    symbols = [name for name in names if SYMBOL.fullmatch(name)]
    if 2 * len(symbols) > len(names):
        return f"as {' and '.join(symbols[:2])} are letters or numbers"
    sided = next((name for name in names if SIDES.search(name)), None)
    return f"as class {sided} is about a side" if sided else ""
