"""A whole search says beforehand how many rows its heads will see, so that its bar has a time left."""

from pathlib import Path

import numpy as np
import pytest

from cache.records import FeatureSet
from pipeline.config.params import Params, read_params
from pipeline.heads.search import rows_of_search, search

ROOT = Path(__file__).resolve().parents[3]


def features(variant: str, n: int, seed: int, first_id: int = 0) -> FeatureSet:
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    rows = (random.normal(0, 1, (n, 4)) + labels[:, None]).astype(np.float16)
    ids = np.array([b"%064x" % (first_id + number) for number in range(n)])
    return FeatureSet(rows, labels, ids, ("a", "b"), variant, "mini", {})


def params(*overrides: str) -> Params:
    schedule = ("augment.variants=[color_1]", "train_head.schedule=[unaugmented x 1, color_1 x 2, unaugmented x 1]")
    chosen = (*schedule, "train_head.device=cpu")
    return read_params(ROOT / "params.yaml", [*chosen, "sweep.seeds=2", *overrides])


@pytest.mark.parametrize(
    "overrides", [(), ("sweep.keep=1.0",), ("sweep.folds=3",), ("sweep.variants=none", "sweep.hidden=[[]]")]
)
def test_the_rows_of_a_search_are_known_before_it(overrides: tuple[str, ...]) -> None:
    chosen = params("sweep.lr=[0.01, 0.02]", *overrides)
    train = {"unaugmented": features("unaugmented", 24, 0), "color_1": features("color_1", 24, 1)}
    val = {"unaugmented": features("unaugmented", 12, 2, first_id=100)}
    seen: list[int] = []
    search(train, val, None, chosen.sweep, chosen.train_head, seen.append)
    assert sum(seen) == rows_of_search(train, chosen.sweep, chosen.train_head)
