"""Tables on the terminal: nothing cut off, columns aligned, and what ends `make demo`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pages import figures

from stages._table import main, print_table

ROOT = Path(__file__).resolve().parents[2]


def test_columns_are_aligned_and_nothing_is_cut_off_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    long = "a summary " * 12
    print_table(("name", "n", "result"), [("short", "1", "[b]text[/b]"), ("a_name_of_some_length", "1,000", long)])
    header, first, second, *rest = capsys.readouterr().out.splitlines()
    assert header.index("result") == first.index("[b]text[/b]") == second.index("a summary")
    assert first.index("1") + 1 == second.index("1,000") + 5  # numbers end in the same column
    assert long.strip() in second and rest == [""]


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


def test_without_a_run_it_says_what_to_run(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); "
               "runpy.run_module('stages._table', run_name='__main__')"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "error: data/evaluate/metrics.json: no such file. Run dvc repro first.\n",
    )
