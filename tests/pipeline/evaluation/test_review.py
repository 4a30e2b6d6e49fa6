"""Suspects are listed with what a person's decisions say of them."""

import csv
import io

import numpy as np
import pytest

from cache.records import UNAUGMENTED, FeatureSet
from pipeline.evaluation.review import review_files
from pipeline.evaluation.source_files import SourceFiles
from pipeline.heads.suspects import ENOUGH

CLASSES = ("ant", "bee")
COUNT = 120


def reviewed(decided: int) -> tuple[list[dict[str, str]], set[str]]:
    """Rows of suspects.csv, and the files of wrong labels. decided: images that a person has decided about, rightly."""
    random = np.random.default_rng(0)
    true = np.arange(COUNT) % 2
    features = (3 * true[:, None] + random.standard_normal((COUNT, 6))).astype(np.float32)
    wrong = random.permutation(COUNT)[:40]
    labels = true.copy()
    labels[wrong[30:]] = 1 - true[wrong[30:]]  # the first thirty were corrected
    ids = np.array([f"{row:064x}".encode() for row in range(COUNT)], dtype="S64")
    files = {("train", str(row)): (ids[row].decode(), f"{row}.jpg") for row in range(COUNT)}
    kept = [row for row in range(COUNT) if row not in wrong][: decided // 2]
    sources = SourceFiles(
        files,
        kept=frozenset(f"{row}.jpg" for row in kept),
        former={f"{row}.jpg": CLASSES[1 - true[row]] for row in wrong[: decided - len(kept)].tolist()},
    )
    rows = FeatureSet(features, labels, ids, CLASSES, UNAUGMENTED, "mini", {})
    text = review_files({"train": {UNAUGMENTED: rows}}, sources, 0.95)["suspects.csv"].decode()
    return list(csv.DictReader(io.StringIO(text))), {f"{row}.jpg" for row in wrong[30:].tolist()}


def test_suspects_count_as_decided_images_of_like_doubt() -> None:
    """Whose former labels were as doubtful as those of the suspects, and wrong."""
    rows, wrong = reviewed(decided=60)
    assert {row["path"] for row in rows} & wrong
    assert all(float(row["expected"]) > 0.5 for row in rows if row["path"] in wrong)


@pytest.mark.parametrize("decided", [0, ENOUGH - 1])
def test_too_few_decisions_say_nothing(decided: int) -> None:
    rows, _ = reviewed(decided)
    assert rows and {row["expected"] for row in rows} == {""}
