"""Head and full model on the same images: what is compared, and with which sign."""

from dataclasses import replace

import pytest
from scored import CLASSES, predict

from cache.errors import RecordError
from pipeline.evaluation.evaluate import Evaluation
from pipeline.evaluation.side_by_side import side_by_side
from pipeline.metrics.predictions import Predictions

LABELS = [0, 1, 2, 0]
RIGHT = predict(LABELS, LABELS)
HALF = predict(LABELS, [0, 1, 0, 1])


def evaluation(test: list[Predictions], attacked: list[Predictions]) -> Evaluation:
    return Evaluation({"test": test, "attacked": attacked, "corrupted": []}, {}, CLASSES, 1.0, [])


def test_what_both_were_evaluated_on_is_compared_by_name() -> None:
    color = replace(RIGHT, variant="color_1")
    attack = replace(HALF, variant="fgsm_eps_1")
    head = evaluation([HALF, color], [attack])
    model = evaluation([replace(RIGHT, variant="spatial_1"), RIGHT], [replace(attack, variant="fgsm_eps_1")])
    rows = side_by_side(head, model, 0.95)
    assert [(row.group, row.name, row.n, row.head, row.model, row.change) for row in rows] == [
        ("test", "unaugmented", 4, 0.5, 1.0, 0.5),
        ("attacked", "fgsm_eps_1", 4, 0.5, 0.5, 0.0),
    ]
    assert (rows[1].change_low, rows[1].change_high) == (0, 0)


def test_other_images_are_refused() -> None:
    other = evaluation([replace(RIGHT, ids=RIGHT.ids[::-1].copy())], [])
    with pytest.raises(RecordError, match="different rows"):
        side_by_side(evaluation([HALF], []), other, 0.95)
