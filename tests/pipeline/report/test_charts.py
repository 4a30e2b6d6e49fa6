"""Curves, phases and axes of a chart are where they can be computed by hand."""

from pipeline.report.charts import make_chart, number, phase_bands, ticks


def test_ticks_are_round_and_hold_the_range() -> None:
    assert ticks(0.11, 0.55) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(0.002, 0.002)[0] <= 0.002 <= ticks(0.002, 0.002)[-1]
    assert ticks(0, 0) == [0, 0.2]


def test_curves_are_drawn_in_percent_of_the_plot() -> None:
    rows = [{"epoch": "1", "variant": "a", "x": "0"}, {"epoch": "2", "variant": "a", "x": "1"}]
    chart = make_chart("t", rows, {"x": "shown"}, percent=True)
    assert chart is not None
    assert [(line.name, line.path, line.last) for line in chart.lines] == [
        ("shown", "M25.00 100.00 L75.00 0.00", "100 %"),
    ]
    assert [(band.name, band.epochs, band.left, band.width) for band in chart.bands] == [("a", 2, 0.0, 100.0)]


def test_one_epoch_is_a_dot_and_gaps_are_skipped() -> None:
    rows = [{"epoch": "1", "variant": "a", "x": "0.5", "y": "", "z": "nan"}]
    chart = make_chart("t", rows, {"x": "x", "y": "y", "z": "z"}, percent=False)
    assert chart is not None
    assert [line.path for line in chart.lines] == ["M50.00 100.00 h0"]
    assert make_chart("t", rows, {"y": "y"}, percent=False) is None
    assert (number("1e3"), number(""), number("inf"), number(None)) == (1000.0, None, None, None)


def test_phases_are_neighbouring_epochs_on_one_variant() -> None:
    rows = [{"variant": name} for name in ("a", "a", "b", "a")]
    assert [(band.name, band.left, band.width) for band in phase_bands(rows)] == [
        ("a", 0, 50),
        ("b", 50, 25),
        ("a", 75, 25),
    ]
