"""Policies are chosen by what they do on unseen images: what helps is combined, what harms or is idle is left out."""

import numpy as np
import pytest

from cache.records import FeatureSet, ImageSet
from pipeline.config.augment import Step
from pipeline.config.search import SearchConfig
from pipeline.heads.drawn_features import few_images
from pipeline.heads.policy_search import PolicyChoice, PolicySearch, changes_of

CLASSES = ("ant", "bee", "cow")
HELPS: Step = {"Helps": {}}
ALSO: Step = {"Also": {}}
HARMS: Step = {"Harms": {}}
COPIES: Step = {"Copies": {}}
CONFIG = SearchConfig(
    images_per_class=20,
    folds=5,
    draws=2,
    kept_draws=3,
    seed=0,
    policies={"good": {"weak": [HELPS], "harmful": [HARMS]}, "other": {"also": [ALSO]}, "idle": {"copies": [COPIES]}},
)
CENTRES = np.random.default_rng(42).normal(0, 1, (3, 40))
LABELS = np.arange(60) % 3


def feature_set(rows: np.ndarray, variant: str = "unaugmented") -> FeatureSet:
    ids = np.array([b"%064x" % number for number in range(len(rows))])
    return FeatureSet(rows.astype(np.float32), LABELS, ids, CLASSES, variant, "mini", {})


PLAIN = feature_set(CENTRES[LABELS] + np.random.default_rng(0).normal(0, 3, (60, 40)))


def draw(steps: list[Step], draws: int) -> list[FeatureSet]:
    """Other views of the classes help as new images would; views of the wrong class harm; copies do nothing."""
    sets = []
    for number in range(1, draws + 1):
        random = np.random.default_rng([number, ALSO in steps])
        rows = PLAIN.features[:]
        if HELPS in steps:
            rows = CENTRES[LABELS] + random.normal(0, 3, (60, 40))
        if ALSO in steps:
            rows = CENTRES[LABELS] + random.normal(0, 0.75, (60, 40))
        if HARMS in steps:
            rows = CENTRES[(LABELS + 1) % 3] + random.normal(0, 3, (60, 40))
        sets.append(feature_set(rows, f"tried_{number}"))
    return sets


@pytest.fixture(scope="module")
def choice() -> PolicyChoice:
    return PolicySearch(PLAIN, draw, CONFIG).run()


def test_what_helps_is_combined_in_the_order_of_the_list(choice: PolicyChoice) -> None:
    assert choice.best.policy == "good_weak + other_also" and choice.best.pays
    assert choice.policies == {"good_weak": [HELPS], "other_also": [ALSO]}


def test_what_harms_does_not_pay(choice: PolicyChoice) -> None:
    by_name = {trial.policy: trial for trial in choice.trials}
    assert by_name["good_harmful"].gain < 0 and not by_name["good_harmful"].pays
    assert by_name["nothing"].gain == 0 and not by_name["nothing"].pays
    assert by_name["good_weak"].accuracy > by_name["nothing"].accuracy > by_name["good_harmful"].accuracy
    assert not any("harmful" in name and "+" in name for name in by_name)


def test_nothing_is_chosen_if_nothing_pays() -> None:
    config = CONFIG.model_copy(update={"policies": {"good": {"harmful": [HARMS]}}})
    choice = PolicySearch(PLAIN, draw, config).run()
    assert choice.best.policy == "nothing" and choice.policies == {}
    assert changes_of(choice, config) == {"augment.variants": [], "train_head.schedule": ["unaugmented x 2"]}


def test_what_paid_becomes_policies_variants_and_a_schedule(choice: PolicyChoice) -> None:
    variants = ["good_weak_1", "other_also_1", "good_weak_2"]
    phases = [f"{variant} x 2" for variant in ("unaugmented", *variants, "unaugmented")]
    changes = changes_of(choice, CONFIG)
    assert changes["augment.policies.good_weak"] == [HELPS]
    assert (changes["augment.variants"], changes["train_head.schedule"]) == (variants, phases)


def test_few_images_are_spread_over_classes_and_do_not_depend_on_order() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 3), dtype=np.uint8)
    ids = np.array([b"%064x" % number for number in range(30)])
    images = ImageSet(pixels, np.arange(30) % 3, ids, CLASSES, "unaugmented")
    few = few_images(images, 4, seed=1)
    assert np.bincount(few.labels).tolist() == [4, 4, 4]
    turned = few_images(images.take(np.arange(29, -1, -1)), 4, seed=1)
    assert set(turned.ids) == set(few.ids)
    assert set(few_images(images, 4, seed=2).ids) != set(few.ids)
    assert len(few_images(images, 50, seed=1)) == 30
