"""A card says what is known, and says of the rest that it is not."""

import re
from pathlib import Path

import pytest
from bundles import tiny_bundle
from pictures import packed, textured

from pipeline.inference.bundle import save_bundle
from pipeline.inference.model_card import CardFacts, model_card
from pipeline.inference.onnx_export import to_onnx
from pipeline.metrics.thresholds import ThresholdError

SCORES = {"top1": 0.9, "top1_low": 0.8, "top1_high": 0.95, "macro_f1": 0.88, "ece": 0.03, "n": 50}


def facts(**change: object) -> CardFacts:
    values: dict[str, object] = {
        "title": "flowers", "classes": ["rose", "tulip"], "size": 224, "backbone": "Backbone x, weights y",
        "images": {"train": 70, "test": 50}, "scores": SCORES, "errors": [ThresholdError(0.9, 20, 15, 0.05, 0.01, 0.2)],
        "has_onnx": True, "revision": None, "versions": {"torch": "2"},
    }  # fmt: skip
    return CardFacts(**{**values, **change})  # type: ignore[arg-type]


def test_the_card_of_a_measured_classifier() -> None:
    card = model_card(facts())
    assert card.startswith("---\nlibrary_name: augcache\n")
    for said in (
        "# flowers", "2 classes: rose, tulip.", "| train | 70 |", "Top-1 90.0 % [80.0, 95.0] on 50 test images",
        "| 0.9 | 75 % | 5.0 % [1.0, 20.0] |", "model.onnx", "(224, 224)", "brought to 224 px",
        "| git revision | unknown |",
    ):  # fmt: skip
        assert said in card, said


def test_what_is_not_known_is_not_claimed() -> None:
    card = model_card(facts(scores={}, errors=(), has_onnx=False, classes=[f"c{number}" for number in range(60)]))
    assert "It was not measured on a test split." in card
    assert "wrong" not in card and "onnx" not in card and "c49 and 10 more" in card


def test_the_example_for_onnxruntime_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_bundle()
    card = model_card(facts(size=bundle.size))
    save_bundle(tmp_path, bundle, to_onnx(bundle), {}, {"README.md": card.encode()})
    (tmp_path / "photo.jpg").write_bytes(packed(textured(), "JPEG"))
    monkeypatch.chdir(tmp_path)
    example = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[1]
    exec(compile(example, "README.md", "exec"), {})
    label, probability = capsys.readouterr().out.split()
    row = bundle.predict([tmp_path / "photo.jpg"])[0]
    assert label == bundle.classes[row.argmax()]
    assert float(probability) == pytest.approx(float(row.max()), abs=0.02)  # resized in one step, not in two
