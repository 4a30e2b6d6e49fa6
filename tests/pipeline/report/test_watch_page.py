"""The page of watch, as text and in a real browser: it fetches nothing, shows text as text, and loads itself again."""

from pathlib import Path

import pytest
from pages import EVIL
from playwright.sync_api import Browser

from pipeline.report.watch_page import Watched, WatchedStage, charts_of, render_watch

CURVES = [
    {"epoch": 1, "variant": "unaugmented", "lr": 0.1, "train_accuracy": 0.5, "val_accuracy": 0.25, "val_loss": 2.0},
    {"epoch": 2, "variant": "mild_1", "lr": 0.1, "train_accuracy": 0.75, "val_accuracy": 0.5, "val_loss": 1.0},
]


def watched(share: float = 0.25, seconds: float = 30.0) -> Watched:
    stages = (
        WatchedStage("prepare", "up to date", EVIL, seconds=2.0),
        WatchedStage("train_model", "running", "", "25 of 100 images", share, seconds, 90.0, CURVES),
        WatchedStage("evaluate", "waits", "for train_model", left=None),
    )
    return Watched(stages, "12:00:00")


def test_the_summary_counts_what_is_known_and_names_the_rest() -> None:
    assert watched().summary == "time left: about 1 min 30 s, unknown for evaluate"
    assert Watched((WatchedStage("prepare", "up to date"),), "").summary == "nothing left to do"
    waits = Watched((WatchedStage("prepare", "waits", left=5.0),), "")
    assert waits.summary == "nothing runs; still to do: about 5 s"


def test_charts_are_of_accuracies_and_losses() -> None:
    accuracy, loss = charts_of(CURVES)
    assert [line.name for line in accuracy.lines] == ["train", "val"] and accuracy.lines[1].last == "50 %"
    assert [line.name for line in loss.lines] == ["val"]
    assert charts_of([{"epoch": 1, "lr": 0.1}]) == []


def test_a_page_that_will_not_change_does_not_load_itself_again() -> None:
    assert 'http-equiv="refresh" content="2"' in render_watch(watched(), "photos", 2)
    assert "refresh" not in render_watch(watched(), "photos", None).replace("no longer refreshed", "")


def test_it_loads_itself_again_fetches_nothing_and_complains_of_nothing(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "watch.html"
    file.write_text(render_watch(watched(), "photos: progress", 1), encoding="utf-8")
    page = browser.new_page()
    messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    assert page.get_by_role("progressbar").get_attribute("aria-valuenow") == "25"
    assert page.locator("svg[role=img]").count() == 2
    assert EVIL in page.locator('[aria-label="Stages"]').inner_text()  # text, not HTML
    file.write_text(render_watch(watched(0.5), "photos: progress", None), encoding="utf-8")
    page.wait_for_selector("[aria-valuenow='50']", timeout=30_000)
    assert messages == []
    assert {url for url in requests if not url.startswith("data:")} == {file.as_uri()}
    page.close()


@pytest.mark.parametrize("width", [320, 700, 1400])
def test_it_fits_any_width(browser: Browser, tmp_path: Path, width: int) -> None:
    file = tmp_path / "watch.html"
    file.write_text(render_watch(watched(), "a_long_title_without_spaces" * 5, None), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
