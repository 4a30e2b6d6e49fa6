"""The page in a real browser: it fetches nothing, reports no error, sorts and filters tables, and fits any width."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from pages import CLASSES, EVIL, results
from playwright.sync_api import Browser, FloatRect, Page

from pipeline.report.run_report import render_report


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(render_report(results()), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    opened.goto(file.as_uri())
    yield opened
    opened.close()


def column(page: Page, table: str, number: int) -> list[str]:
    rows = page.locator(f'[aria-label="{table}"] tbody tr:visible')
    return [row.locator("th, td").nth(number).inner_text().replace("\xa0", " ") for row in rows.all()]


def test_nothing_is_fetched_and_nothing_complains(browser: Browser, file: Path) -> None:
    messages: list[str] = []
    requests: list[str] = []
    opened = browser.new_page()
    opened.on("console", lambda message: messages.append(message.text))
    opened.on("pageerror", lambda error: messages.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto(file.as_uri())
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]
    opened.close()


def test_a_click_on_a_head_sorts_and_another_turns_it_round(page: Page) -> None:
    table = "Scores of each class"
    assert column(page, table, 0) == [EVIL, "cat"]
    head = page.locator(f'[aria-label="{table}"] th button', has_text="precision")
    head.click()
    assert column(page, table, 2) == ["50.0 %", "100.0 %"]
    head.click()
    assert column(page, table, 2) == ["100.0 %", "50.0 %"]
    assert page.locator(f'[aria-label="{table}"] [aria-sort="descending"]').count() == 1


def test_the_filter_keeps_the_rows_that_hold_a_text(page: Page) -> None:
    table = "Images of each class"
    assert len(column(page, table, 0)) == len(CLASSES)
    page.get_by_label(f"Filter {table}").fill("QUOTED")
    assert column(page, table, 0) == ['a "quoted" & long name']
    page.get_by_label(f"Filter {table}").fill("")
    assert len(column(page, table, 0)) == len(CLASSES)


@pytest.mark.parametrize("width", [400, 768, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_in_light_or_dark(browser: Browser, file: Path, width: int, scheme: str) -> None:
    opened = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    opened.goto(file.as_uri())
    assert opened.evaluate("document.documentElement.scrollWidth") == width
    background = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) == (scheme == "dark")
    opened.close()


@pytest.mark.parametrize("width", [400, 1280])
def test_labels_of_a_chart_cover_neither_its_curves_nor_each_other(browser: Browser, file: Path, width: int) -> None:
    opened = browser.new_page(viewport={"width": width, "height": 800})
    opened.goto(file.as_uri())
    for chart in opened.locator(".plot").all():
        plot = chart.locator(".area svg").bounding_box()
        labels = [label.bounding_box() for label in chart.locator(".ys span, .xs span, .band span").all()]
        assert plot is not None and len(labels) >= 3
        boxes = [box for box in labels if box is not None]
        assert all(not overlap(plot, box) for box in boxes)
        assert not [pair for pair in combinations(boxes, 2) if overlap(*pair)]
    opened.close()


def overlap(a: FloatRect, b: FloatRect) -> bool:
    """Whether two boxes share more than a pixel's width and height, which rounding may give."""
    across = min(a["x"] + a["width"], b["x"] + b["width"]) - max(a["x"], b["x"])
    down = min(a["y"] + a["height"], b["y"] + b["height"]) - max(a["y"], b["y"])
    return across > 1 and down > 1


def test_names_from_files_run_no_script(page: Page) -> None:
    page.on("dialog", lambda dialog: pytest.fail(f"a script of the data ran: {dialog.message}"))
    page.reload()
    assert page.get_by_text(EVIL).count() >= 5
