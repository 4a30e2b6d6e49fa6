"""Whether more photos help: only what exceeds chance is said."""

import pytest
from pages import EVIL, results

from pipeline.report.learning import advice, learning_chart
from pipeline.report.run_report import render_report

CURVE = "images_per_class,accuracy,low,high,gain,error\n"
CLASSES = "name,images,half,all,gain,error\n"


def with_curve(gain: object, error: object, classes: str = CLASSES) -> dict[str, str]:
    curve = f"{CURVE}5.0,0.7,0.6,0.8,,\n10.0,0.75,0.7,0.8,{gain},{error}\n"
    return {**results().texts, "evaluate/learning_curve.csv": curve, "evaluate/learning_classes.csv": classes}


def test_the_learning_curve_is_drawn() -> None:
    chart = learning_chart(results())
    assert chart is not None
    assert [tick.label for tick in chart.ticks_x] == ["5", "10", "20"]
    assert chart.lines[0].last == "75.0 %"
    empty = {**results().texts, "evaluate/learning_curve.csv": "images_per_class,accuracy\n"}
    assert learning_chart(results(texts=empty)) is None and advice(results(texts=empty)) == ""


@pytest.mark.parametrize(
    ("gain", "error", "said"),
    [
        (0.15, 0.05, "brought +15.0 ± 5.0 points, so more photos should help."),
        (0.022, 0.015, "brought +2.2 ± 1.5 points, which chance alone may bring: these photos cannot tell"),
        (-0.02, 0.02, "brought -2.0 ± 2.0 points, which chance alone may bring"),
        (0.005, 0.001, "brought +0.5 ± 0.1 points: more photos of this kind help little."),
        (0.001, 0.002, "brought +0.1 ± 0.2 points: more photos of this kind help little."),
    ],
)
def test_a_gain_counts_if_it_exceeds_chance(gain: float, error: float, said: str) -> None:
    assert said in advice(results(texts=with_curve(gain, error)))


def test_only_classes_whose_gain_exceeds_twice_its_error_are_named() -> None:
    assert advice(results()).endswith(f"should help. Most was gained by {EVIL}.")  # cat: 10 ± 6
    noise = f"{CLASSES}cat,20,0.5,0.8,0.3,0.2\ndog,20,0.5,0.5,0.0,0.05\n"
    texts = with_curve(0.1, 0.01, noise)
    assert advice(results(texts=texts)).endswith("No single class gained more than chance may bring.")


def test_the_page_shows_the_error_of_each_class() -> None:
    page = render_report(results())
    table = page[page.index('aria-label="What doubling') :].partition("</table>")[0]
    assert '<td class="n">+30.0</td><td class="n">12.0</td>' in table
    assert '<td class="n">+10.0</td><td class="n">6.0</td>' in table


def test_tables_of_earlier_runs_lack_errors_and_claim_nothing() -> None:
    old = {
        **results().texts,
        "evaluate/learning_curve.csv": "images_per_class,accuracy,low,high\n5.0,0.7,0,1\n10.0,0.75,0,1\n",
        "evaluate/learning_classes.csv": "name,images,half,all,gain\ncat,20,0.5,0.8,0.3\n",
    }
    assert advice(results(texts=old)) == ""
    assert "Would more photos help?" in render_report(results(texts=old))
