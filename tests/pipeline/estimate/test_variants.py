"""Variants are those that a search found; without one they are mild, and none changes the class."""

from typing import Any

import pytest

from pipeline.estimate.findings import SearchFindings
from pipeline.estimate.look import Look
from pipeline.estimate.variants import HOW_TO_SEARCH, choose_variants
from pipeline.estimate.wishes import Choice, Wishes

FLIP = [{"Fliplr": {"p": 0.5}}]
NOISE = [{"AdditiveGaussianNoise": {"scale": [0, 20]}}]
FINDINGS = SearchFindings("2026-11-27", ("flip_1", "noise_1"), {"flip": FLIP, "noise": NOISE}, 0.0417, 0.0184)
NOTHING = SearchFindings("2026-11-27", (), {}, 0.0, 0.0)


def choice_for(classes: list[str], findings: SearchFindings | None = None, **wishes: Any) -> Choice:
    look = Look(dict.fromkeys(classes, 30), {}, {}, [], [])
    return choose_variants(look, Wishes(**wishes), 30 * len(classes), findings)


def is_mirrored(choice: Choice) -> bool:
    steps = [step for key, own in choice.changes.items() if key.startswith("augment.policies") for step in own]
    assert ("flip_1" in choice.changes["augment.variants"]) is any("Fliplr" in step for step in steps)
    return any("Fliplr" in step for step in steps)


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        (["ant", "bee"], ""),
        (["copyright", "cleft"], ""),
        (["0", "1", "10"], "as 0 and 1 are letters or numbers"),
        (["b", "d"], "as b and d are letters or numbers"),
        (["A", "b", "c", "space"], "as A and b are letters or numbers"),
        (["é", "ж"], "as é and ж are letters or numbers"),
        (["turn left", "turn_right", "stop"], "as class turn left is about a side"),
    ],
)
def test_what_reads_like_text_is_not_mirrored(classes: list[str], reason: str) -> None:
    choice = choice_for(classes)
    assert is_mirrored(choice) is not bool(reason)
    assert (f"; no mirror images, {reason};" in choice.reason) is bool(reason)
    assert choice.reason.endswith(HOW_TO_SEARCH)


def test_a_wish_for_or_against_flips_comes_first() -> None:
    assert is_mirrored(choice_for(["0", "1"], flips=True))
    against = choice_for(["ant", "bee"], flips=False)
    assert not is_mirrored(against) and "no mirror images, as you say" in against.reason


def test_variants_that_a_search_found_are_taken_with_their_policies() -> None:
    choice = choice_for(["0", "1"], FINDINGS)
    assert choice.changes == {
        "augment.variants": ["flip_1", "noise_1"],
        "augment.policies.flip": FLIP,
        "augment.policies.noise": NOISE,
    }
    assert choice.reason == (
        "search found on 2026-11-27 that they lower the cross entropy of unseen images by 0.042 ± 0.018"
    )


def test_a_search_without_a_gain_means_no_variants() -> None:
    choice = choice_for(["ant", "bee"], NOTHING)
    assert choice.changes == {"augment.variants": []}
    assert str(choice) == "variants    none: search found on 2026-11-27 that no policy pays"


@pytest.mark.parametrize("wish", [{"flips": False}, {"flips": True}, {"variants": ("mild_1",)}])
def test_a_wish_comes_before_a_search(wish: dict[str, Any]) -> None:
    choice = choice_for(["ant", "bee"], FINDINGS, **wish)
    assert "search found" not in choice.reason
    assert "noise_1" not in choice.changes["augment.variants"]
