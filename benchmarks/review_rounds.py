"""How many wrong labels a person finds who decides about the surest suspects, a few at a time, until told to stop.

    python benchmarks/review_rounds.py --data data [--draws 4] [--share 0.1] [--decisions 25]

--data: where `prepare` and `featurize` have run over photos whose labels are right. In each draw a share of all labels
is replaced at random, and the decisions are right ones. Rounds end when no more than half a suspect is expected to be
wrong. Nothing is timed.
"""

import argparse
from pathlib import Path

import numpy as np
from stage_runs import machine, write_json

from cache.layout import Array
from cache.reader import read_features
from cache.records import UNAUGMENTED
from pipeline.evaluation.review import SPLITS
from pipeline.heads.cross_validation import cross_validate
from pipeline.heads.groups import narrowed
from pipeline.heads.suspects import Decisions, rows_to_review

COLUMNS = ("decided", "listed", "expected wrong", "wrong", "not listed", "expected wrong", "wrong")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--decisions", type=int, default=25, help="in a round")
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/review_rounds.json"))
    given = parser.parse_args()
    paths = [given.data / "featurize" / f"{split}-{UNAUGMENTED}.h5" for split in SPLITS]
    sets = [narrowed(read_features(path)) for path in paths if path.exists()]
    features = np.concatenate([rows.features[:] for rows in sets]).astype(np.float32)
    true = np.concatenate([rows.labels for rows in sets]).astype(np.int64)
    draws = []
    for draw in range(given.draws):
        labels = wrong_labels(true, given.share, draw)
        print(f"draw {draw}: {int((labels != true).sum())} of {len(true):,} wrong")
        rounds = review(features, true, labels, given.decisions)
        print("  ".join(COLUMNS))
        for row in rounds:
            print("  ".join(f"{value:>{len(name)}.4g}" for value, name in zip(row, COLUMNS, strict=True)), flush=True)
        draws.append(rounds)
    options = {name: str(value) for name, value in vars(given).items()}
    write_json(given.out, {"machine": machine(), "options": options, "columns": COLUMNS, "draws": draws})


def wrong_labels(true: Array, share: float, draw: int) -> Array:
    """A share of the labels replaced by others, at random."""
    random = np.random.default_rng(draw)
    classes = int(true.max()) + 1
    chosen = random.permutation(len(true))[: round(share * len(true))]
    labels = true.copy()
    labels[chosen] = (labels[chosen] + random.integers(1, classes, len(chosen))) % classes
    return labels


def review(features: Array, true: Array, former: Array, decisions: int) -> list[tuple[float, ...]]:
    """A row for each round, by `COLUMNS`; the last one is where it says stop."""
    decided, still_open = np.zeros((2, len(true)), dtype=bool)
    labels = former.copy()
    rounds: list[tuple[float, ...]] = []
    while True:
        checked = cross_validate(features, labels, int(true.max()) + 1, 0)
        assert checked is not None
        reviewed = rows_to_review(checked.probabilities, labels, Decisions(former, decided, still_open))
        is_open = ~decided[reviewed.rows]
        listed = reviewed.rows[is_open]
        expected = float("nan") if reviewed.shares is None else float(reviewed.shares[is_open].sum())
        rest = float("nan") if reviewed.unlisted_wrong is None else reviewed.unlisted_wrong
        wrong = int((labels != true)[listed].sum())
        elsewhere = int((labels != true).sum()) - wrong
        row = (int(decided.sum()), len(listed), expected, wrong, reviewed.unlisted, rest, elsewhere)
        rounds.append(row)
        if round(np.nan_to_num(expected, nan=1.0)) == 0 or not len(listed):
            return rounds
        decided[listed[:decisions]] = True
        still_open[listed] = True
        labels[decided] = true[decided]


if __name__ == "__main__":
    main()
