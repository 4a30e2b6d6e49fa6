"""Tables on the terminal: nothing cut off, columns aligned, and what ends `make demo`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pages import REVIEWED, figures

from stages._table import CHOSEN_ON_VAL, PIPE_WIDTH, TRAILING, main, print_table

SPLITS = ("train", "test", "test", "test")  # of suspects, of which the third is kept
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("columns", [None, 60])
def test_columns_are_aligned_and_long_cells_wrapped_without_trailing_blanks(
    columns: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", str(columns))
    long = " ".join(f"word{number}" for number in range(40))
    print_table(("name", "n", "result"), [("short", "1", "[b]text[/b]"), ("a_name_of_some_length", "1,000", long)])
    lines = capsys.readouterr().out.splitlines()
    header, first, second = lines[:3]
    assert header.index("result") == first.index("[b]text[/b]") == second.index("word0")
    assert first.index("1") + 1 == second.index("1,000") + 5  # numbers end in the same column
    assert " ".join(" ".join(lines[2:]).split()).endswith(long)  # nothing is cut off
    assert max(map(len, lines)) <= (columns or PIPE_WIDTH) == (columns or 100)
    assert lines == [line.rstrip() for line in lines] and lines[-1] == ""


def test_styles_of_a_terminal_hide_no_trailing_blanks() -> None:
    styled = "\x1b[1mname\x1b[0m\x1b[1m  \x1b[0m\nshort   \n"
    assert TRAILING.sub(lambda tail: tail[0].replace(" ", ""), styled).split("\n")[1:] == ["short", ""]
    assert " " not in TRAILING.sub(lambda tail: tail[0].replace(" ", ""), styled)


def test_the_last_run_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("evaluate", "runs"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    metrics = {
        "test": {"unaugmented": figures(0.75)},
        "attacked": {},
        "classifiers": {
            "train_head": {"used": 1, "val_accuracy": 0.5, **figures(0.75)},
            "train_model": {"used": 0, **figures(0.5)},
        },
    }
    (tmp_path / "data" / "evaluate" / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    tables = {
        "classifiers": "group,name,n,head,model,change,change_low,change_high\n"
        "test,unaugmented,6,0.75,0.5,-0.25,-0.5,0.0125\ntest,mild_1,6,0.5,0.5,0,0,0\n",
        "variants": "variant,class,gain,deviation\nmild_1,,0.5,0.1\nall together,,0.031,0.004\nall together,a,1,\n",
    }
    for name, table in tables.items():
        (tmp_path / "data" / "evaluate" / f"{name}.csv").write_text(table, encoding="utf-8")
    run = {"seconds": 2.0, "cached": 1234, "summary": "9 rows"}
    (tmp_path / "data" / "runs" / "featurize.json").write_text(json.dumps(run), encoding="utf-8")
    main()
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "unaugmented 6 75.0% 65.0% to 85.0%" in rows
    assert "train_head, used 50.0% 75.0% 65.0% to 85.0%" in rows
    assert "train_model 50.0% 40.0% to 60.0%" in rows  # no accuracy on val is known
    assert "fine-tuning, on test -25.0 -50.0 to +1.2" in rows
    assert "cached variants, to the head, on val +3.1 ± 0.4 over seeds" in rows
    assert "featurize 2.0 1,234 9 rows" in rows
    assert "prepare restored by DVC from its own cache" in rows
    assert rows[-1].startswith("report: ") and not [row for row in rows if "suspected" in row]
    assert CHOSEN_ON_VAL.splitlines()[0] not in rows
    for stage, scores in metrics["classifiers"].items():
        scores["used"] = int(stage == "train_model")
    (tmp_path / "data" / "evaluate" / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    main()
    assert CHOSEN_ON_VAL in capsys.readouterr().out


def test_suspected_labels_and_what_to_do_about_them_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "evaluate").mkdir(parents=True)
    (tmp_path / "data" / "prepare").mkdir()
    metrics = {"test": {"unaugmented": figures(0.75)}, "attacked": {}, "classifiers": {}}
    (tmp_path / "data" / "evaluate" / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (tmp_path / "data" / "prepare" / "manifest.json").write_text('{"relabel": {"kept": ["2.jpg"]}}')
    listed = "".join(f"{split},{row},{row:064x},{row}.jpg,a,b,0.9,0.1\n" for row, split in enumerate(SPLITS))
    (tmp_path / "data" / "evaluate" / "suspects.csv").write_text(f"{REVIEWED}\n{listed}")
    main()
    *_, doubt, number, look, step, report = capsys.readouterr().out.splitlines()
    assert doubt == "2 of the 6 test photos are among the suspected labels: correct them, then test again."
    assert number == "suspected labels: 3. How many of them are really wrong is said once 20 are kept or relabelled."
    assert look == "Look at data/report/index.html from the first on, write keep, relabel or drop into"
    assert step == "column action of data/report/review.csv, then run   python -m stages.relabel && dvc repro"
    assert report.startswith("report: ") and max(map(len, (doubt, number, look, step))) <= PIPE_WIDTH


def test_without_a_run_it_says_what_to_run(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); "
               "runpy.run_module('stages._table', run_name='__main__')"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "error: data/evaluate/metrics.json: no such file. Run dvc repro first.\n",
    )
