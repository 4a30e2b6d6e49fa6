"""Tables have fixed names and one row for each thing that they list."""

import json
from dataclasses import replace

import pytest
from scored import CLASSES, SIX_OF_TEN, predict

from pipeline.evaluation.evaluate import Evaluation
from pipeline.evaluation.source_files import SourceFiles
from pipeline.evaluation.tables import error_tables, metrics_json, per_class_csv, summary
from pipeline.metrics.predictions import Predictions
from pipeline.metrics.scores import evaluate


def test_metrics_have_flat_fixed_names() -> None:
    scores = evaluate(SIX_OF_TEN, 0.95)
    metrics = json.loads(metrics_json({"test": [scores], "attacked": []}, {"calibration": {"temperature": 1.5}}))
    assert metrics["attacked"] == {} and metrics["calibration"] == {"temperature": 1.5}
    figures = metrics["test"]["unaugmented"]
    assert (figures["top1"], figures["n"], figures["ece"]) == (0.6, 10, 0.2)
    assert figures["top1_low"] == pytest.approx(0.312674, abs=1e-6)


def test_csv_tables_have_one_row_per_class() -> None:
    scores = evaluate(SIX_OF_TEN, 0.95)
    assert per_class_csv([scores], [7, 8, 9])["per_class.csv"].splitlines() == [
        "variant,class,support,precision,recall,f1,taken_for,share,train",
        "unaugmented,a,4,0.5,0.75,0.6,b,0.25,7",
        "unaugmented,b,3,0.666667,0.666667,0.666667,a,0.333333,8",
        "unaugmented,c,3,1.0,0.333333,0.5,a,0.666667,9",
    ]
    assert per_class_csv([scores], [])["per_class.csv"].splitlines()[1].endswith(",")


def test_error_tables_have_one_row_per_image_and_the_worst_pairs() -> None:
    scores = evaluate(SIX_OF_TEN, 0.95)
    tables = error_tables([scores], [SIX_OF_TEN], 1, SourceFiles())
    assert tables["confusion.csv"].splitlines()[:5] == ["actual,predicted", "a,a", "a,a", "a,a", "a,b"]
    assert tables["confused.csv"] == "actual,predicted,count,share\nc,a,2,0.666667\n"
    assert tables["mistakes.csv"].splitlines()[1] == f"3,{3:064x},,a,b,0.8"
    assert error_tables([], [], 9, SourceFiles())["confusion.csv"] == "actual,predicted\n"


def test_the_summary_names_the_worst_of_each_group_and_the_other_classifier() -> None:
    worse = replace(predict([0, 1, 2], [1, 1, 2]), variant="color_1")
    head = evaluation([SIX_OF_TEN, worse], [SIX_OF_TEN, replace(worse, variant="fgsm_eps_1")])
    alone = "top-1 60.0 % [31.3, 83.2] on 10 test images, worst variant color_1 66.7 %, worst attack fgsm_eps_1 66.7 %"
    assert summary({"train_head": head}) == alone
    both = summary({"train_head": head, "train_model": evaluation([SIX_OF_TEN], [])})
    assert both == f"train_head, {alone}; train_model, top-1 60.0 % [31.3, 83.2]"


def evaluation(test: list[Predictions], attacked: list[Predictions]) -> Evaluation:
    groups = {"test": test, "attacked": attacked, "corrupted": []}
    scores = {name: [evaluate(rows, 0.95) for rows in group] for name, group in groups.items()}
    return Evaluation(groups, scores, CLASSES, 1.0, [])
