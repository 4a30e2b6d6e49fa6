"""The best epoch is the most accurate one on val, then the one with the lowest loss."""

import math

from pipeline.metrics.best_epoch import val_rank


def test_accuracy_decides_then_loss() -> None:
    assert val_rank(0.9, 2.0) > val_rank(0.8, 0.1)
    assert val_rank(0.9, 0.1) > val_rank(0.9, 0.2)


def test_a_result_that_diverged_is_never_better() -> None:
    for loss in (math.nan, math.inf):
        assert val_rank(1.0, loss) == val_rank(0.0, math.nan) < val_rank(0.0, 1e9)
