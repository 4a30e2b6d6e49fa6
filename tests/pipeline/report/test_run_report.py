"""The page is one file that fetches nothing, escapes everything, and stands whatever a run lacks."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from pages import EVIL, images, results

from cache.errors import DamagedFile
from pipeline.report.gallery import choose_side
from pipeline.report.run_report import render_report

VOID = {"meta", "link", "img", "br", "path"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def test_page_shows_what_each_variant_gains_whatever_classes_are_called() -> None:
    """One of the classes is called `gain`, as a column of the table is."""
    page = Page(render_report(results()))
    assert "color_1 +1.2 0.4 <script>alert('x')</script> (+12.5), gain (+5.0) cat (−25.0)" in page.text
    without = {name: text for name, text in results().texts.items() if name != "evaluate/variants.csv"}
    assert "What each cached variant bought" not in render_report(results(texts=without))


def test_page_shows_the_figures_with_their_intervals() -> None:
    text = Page(render_report(results())).text
    assert "75.0 % top-1 on test 95 % interval 65.0 % to 85.0 %" in text
    assert "75.0 % top-1 on val" in text
    assert "18 images 6 train, 6 val, 6 test" in text
    assert "color_1 50.0 % 40.0 % to 60.0 % −25.0" in text


def test_page_says_when_the_weights_are_random() -> None:
    random, given = (results().featurize.model_copy(update={"weights": name}) for name in ("random", "b0.safetensors"))
    assert "weights are random" in Page(render_report(results(featurize=random))).text
    trained = Page(render_report(results(featurize=given))).text
    assert "weights are random" not in trained
    assert "weights b0.safetensors" in trained


def test_class_names_and_file_names_cannot_run_as_script() -> None:
    page = render_report(results())
    assert EVIL not in page
    parsed = Page(page)
    assert [attributes for tag, attributes in parsed.tags if tag == "script"] == [{}]  # our own, named by its hash
    assert parsed.text.count(EVIL) >= 5  # counts, gallery, scores, confusions, mistakes, manifest: shown as they are
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]


def test_page_fetches_nothing() -> None:
    page = render_report(results())
    assert not re.search(r"https?://|url\(|@import|=\"//", page)
    for tag, attributes in Page(page).tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attributes.get(name) or ""
            assert not value or value.startswith(("data:", "#")), f"{tag} {name}={value[:40]}"
    policy = next(a["content"] for t, a in Page(page).tags if a.get("http-equiv") == "Content-Security-Policy")
    script = re.search(r"<script>(.*)</script>", page, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    allowed = f"img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert policy == f"default-src 'none'; {allowed}"


def test_corruptions_calibration_confusion_and_near_duplicates_are_told() -> None:
    text = Page(render_report(results())).text
    assert "75.0 % uncorrupted, 37.5 % on average" in text and "jpeg 37.5 % 50.0 % 25.0 %" in text
    assert "error is 12.5 %, where exact probabilities would show 6.2 % by chance; without temperature scaling" in text
    assert "without temperature scaling (a temperature of 1.25, fitted on val) it is 25.0 %" in text
    assert "85.0 % sure 33.3 % right, 3 images" in text
    assert f"{EVIL} in test cat in train cosine 0.988 copy.jpg cat/3.jpg" in text
    assert "Top-1 on test without them: 62.5 %" in text
    assert f"{EVIL} cat {EVIL} 2 cat 1" in text.replace("   ", " ")


def test_a_mistake_names_its_file() -> None:
    assert f"{EVIL} predicted as cat with 87.5 % {EVIL}/1.jpg" in Page(render_report(results())).text


def test_both_classifiers_are_shown_side_by_side_with_their_training_time() -> None:
    text = Page(render_report(results())).text
    assert "differs from the head by −25.0 points: −12.5 points per minute of its training." in text
    # 75 % is 25 points over guessing one of two classes, in half a minute; 600 seconds were spent on five seeds
    assert "head (train_head) , used 75.0 % 75.0 % 0.50 50" in text
    assert "full model (train_model) 62.5 % 50.0 % 2.00 0" in text
    assert "unaugmented 75.0 % 50.0 % −25.0 −50.0 to +0.0 6" in text
    assert "fgsm_eps_1 25.0 % 37.5 % +12.5 −10.0 to +30.0 6" in text
    assert "jpeg_5 25.0 % 50.0 % +25.0 +10.0 to +40.0 6" in text
    assert "Phases: color_1 × 1 . The dotted line marks epoch 1" in text.replace("\xa0", " ").replace("1.", "1 .")


def test_without_the_other_classifier_nothing_is_said_of_it() -> None:
    texts = {n: t for n, t in results().texts.items() if "train_model" not in n and n != "evaluate/classifiers.csv"}
    text = Page(render_report(results(texts=texts))).text
    assert "side by side" not in text and "full model" not in text.lower()


def test_equal_results_give_equal_pages() -> None:
    assert render_report(results()) == render_report(results())


def test_the_page_stays_under_ten_megabytes_however_noisy_its_images() -> None:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, size=(24, 128, 128, 3), dtype=np.uint8)
    noisy = replace(images(rows=24), images=noise)
    many = {"val": noisy, **{f"val-spatial_{draw}": replace(noisy, variant=f"spatial_{draw}") for draw in range(1, 10)}}
    report = results().report.model_copy(update={"samples": 24})
    page = render_report(results(images=many, report=report))
    assert page.count("<img") == 240
    assert 3e6 < len(page) < 1e7
    assert [choose_side(count) for count in (1, 91, 92, 10_000)] == [128, 128, 96, 32]


@pytest.mark.parametrize("missing", ["everything", "val", "test", "curves"])
def test_page_stands_without(missing: str) -> None:
    whole = results()
    kept = {
        "everything": replace(whole, images={}, texts={}),
        "val": replace(whole, images={"train": images(), "train-color_1": images("color_1"), "test": images()}),
        "test": replace(
            whole,
            images={"train": images(), "val": images()},
            texts={**whole.texts, "evaluate/metrics.json": '{"test": {}}', "evaluate/per_class.csv": "variant,class\n"},
        ),
        "curves": replace(whole, texts={n: t for n, t in whole.texts.items() if not n.startswith("train_head")}),
    }[missing]
    text = Page(render_report(kept)).text
    assert ("There is no test split" in text) == (missing in ("everything", "test"))
    assert ("Images of train" in text) == (missing == "val")
    assert ("The dotted line marks epoch 2" in text) == (missing in ("val", "test"))


def test_time_and_cache_hits_are_listed_in_the_pipelines_order_without_the_page_itself() -> None:
    text = Page(render_report(results())).text
    assert "prepare 2.0 s 10 5 – done featurize 4.0 s 20 5 75.0 % 2.5 MB <b>" in text
    assert "the last page" not in text


def test_weakest_class_comes_first_and_only_unaugmented_counts() -> None:
    text = Page(render_report(results())).text
    assert f"trained on {EVIL} 4 50.0 % 25.0 % 33.3 % cat 75.0 % 6 cat 2 100.0 % 100.0 % 100.0 % 0.0 % 3" in text
    assert "F1 with the number of training images is 0.16" in text


def test_recipes_that_are_equal_are_shown_once() -> None:
    text = Page(render_report(results())).text
    assert text.count('{ "made": "unaugmented" }') == 1
    assert "unaugmented images" in text


def test_a_damaged_json_is_refused_by_name() -> None:
    with pytest.raises(DamagedFile, match=r"evaluate/metrics\.json: not JSON"):
        render_report(results(texts={"evaluate/metrics.json": "{"}))
    with pytest.raises(DamagedFile, match=r"prepare/manifest\.json: not a JSON object"):
        render_report(results(texts={"prepare/manifest.json": "[]"}))
