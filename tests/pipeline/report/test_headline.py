"""What the page says first: one figure for one classifier, and a sentence without terms."""

import json
from typing import Any

import pytest
from pages import figures, results

from pipeline.report.headline import in_plain_words, tiles
from pipeline.report.run_report import render_report

LINEAR = {"best_epoch": 0, "head": "linear", "val_accuracy": 0.9, "chosen_by": "5-fold cross-validation"}
ACCURACIES = {"linear_accuracy": 0.774, "trained_accuracy": 0.756}


def with_metrics(train_head: dict[str, Any], **evaluate: Any) -> dict[str, str]:
    own = results().texts
    metrics = {**json.loads(own["evaluate/metrics.json"]), **evaluate}
    return {
        **own,
        "train_head/metrics.json": json.dumps(train_head),
        "evaluate/metrics.json": json.dumps(metrics),
    }


def val_tile(texts: dict[str, str]) -> tuple[str, ...] | None:
    shown = [tile for tile in tiles(results(texts=texts)) if tile[1] == "top-1 on val"]
    return tuple(text.replace("\xa0", " ") for text in shown[0]) if shown else None


def test_a_linear_head_does_not_take_the_best_epoch_of_another_head() -> None:
    """Curves of the trained head, which was not chosen, reach 75 %; the linear one has 90 %."""
    classifiers = {"train_head": {"used": 1, "val_accuracy": 0.9, **figures(0.75)}}
    remark = "of the linear head, chosen by 5-fold cross-validation"
    for texts in (with_metrics(LINEAR, classifiers=classifiers), with_metrics(LINEAR, classifiers={})):
        assert val_tile(texts) == ("90.0 %", "top-1 on val", remark)


def test_accuracy_on_val_has_the_interval_that_evaluate_measured() -> None:
    measured = {"used": 1, "val_accuracy": 0.9, "val_accuracy_low": 0.436, "val_accuracy_high": 0.97}
    tile = val_tile(with_metrics(LINEAR, classifiers={"train_head": measured}))
    assert tile is not None and tile[2].endswith("; 95 % interval 43.6 % to 97.0 %, 6 photos")


def test_tile_and_table_say_the_same_of_the_classifier_that_is_used() -> None:
    classifiers = {"train_head": {"used": 0, "val_accuracy": 0.9}, "train_model": {"used": 1, "val_accuracy": 0.625}}
    texts = with_metrics(LINEAR, classifiers=classifiers)
    remark = "of the full model after epoch 1, which was chosen on val"
    assert val_tile(texts) == ("62.5 %", "top-1 on val", remark)


def test_a_trained_head_without_recorded_accuracy_has_that_of_its_epoch() -> None:
    remark = "of the head after epoch 2, which was chosen on val"
    assert val_tile(with_metrics({"best_epoch": 2}, classifiers={})) == ("75.0 %", "top-1 on val", remark)
    assert val_tile(with_metrics({}, classifiers={})) is None


def test_curves_of_a_head_that_was_not_chosen_say_so() -> None:
    page = render_report(results(texts=with_metrics({**LINEAR, **ACCURACIES}))).replace("\xa0", " ")
    training = page[page.index('<section id="training">') :].partition("</section>")[0]
    assert "These are the curves of a trained head that was not chosen." in training
    assert "preferred by 5-fold cross-validation (77.4 % right against 75.6 %; a trained one must be" in training
    assert "This full model is not the classifier that is used." in training
    trained = render_report(results(texts=with_metrics({"best_epoch": 2, "head": "trained"})))
    assert "was not chosen" not in trained


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.727425, 0.892794, "Of 10 new photos like these, 7 to 9 would be classified right by the head"),
        (0.975, 0.999, "Of 100 new photos like these, 98 to 100 would"),
        (0.9996, 1.0, "Of 1,000 new photos like these, about 1,000 would"),
        (0.801, 0.839, "Of 100 new photos like these, 80 to 84 would"),
    ],
)
def test_the_first_sentence_needs_no_terms(low: float, high: float, said: str) -> None:
    clean = {**figures(0.8), "top1_low": low, "top1_high": high}
    texts = with_metrics(LINEAR, test={"unaugmented": clean})
    assert in_plain_words(results(texts=texts)).startswith(said)
    assert said in render_report(results(texts=texts)).partition("<nav")[0]


def test_without_a_test_split_nothing_is_promised() -> None:
    assert in_plain_words(results(texts=with_metrics(LINEAR, test={}))) == ""


def test_terms_are_explained_at_first_use_and_at_the_end() -> None:
    page = render_report(results())
    body = page[page.index("<body>") :]
    for word in ("top-1", "head", "variant", "temperature"):
        assert f'">{word}</abbr>' in body
        assert body.index(f'">{word}</abbr>') < body.index("<nav")
        assert f"<dt>{word}</dt>" in page[page.index('<section id="glossary">') :]


def test_the_correlation_with_class_sizes_is_shown_for_uneven_classes_only() -> None:
    assert "F1 with the number of training images is 0.16" in render_report(results())
    even = results().texts["evaluate/per_class.csv"].replace(",6\n", ",5\n")
    texts = {**results().texts, "evaluate/per_class.csv": even}
    assert "F1 with the number of training images" not in render_report(results(texts=texts))
