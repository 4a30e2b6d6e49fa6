"""Tables on the terminal, and the one that ends `make demo`: accuracies, time and cache hits of the last run."""

import csv
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cache.records import UNAUGMENTED
from pipeline.config.shared.variants import TOGETHER
from pipeline.runtime.run_record import read_record

DATA = Path("data")
PIPE_WIDTH = 100  # characters, if the output is no terminal and COLUMNS says nothing
TRAILING = re.compile(r"(?: |\x1b\[[\d;]*m)+$", re.MULTILINE)  # blanks at the end of a line, and styles among them
FEW_VAL = 1000  # images of val, of which a single one shows in the table
WORDS = {"interval", "result", "change, points"}  # columns that are aligned to the left, as the first one is


CHOSEN_ON_VAL = (
    "Val decides which is used, not test: what is chosen by test looks better there than on new photos.\n"
    "To use the other one all the same, set evaluate.classifier.\n"
)


def main() -> None:
    """Print the tables of the last run below data/."""
    metrics = _read(DATA / "evaluate" / "metrics.json")
    columns = ("images", "top-1 on test", "interval")
    print_table(("variant", *columns), [_scores_row(*item) for item in metrics["test"].items()])
    if metrics["attacked"]:
        print_table(("attack", *columns), [_scores_row(*item) for item in metrics["attacked"].items()])
    if len(metrics["classifiers"]) > 1:
        rows = [_classifier_row(*item) for item in metrics["classifiers"].items()]
        print_table(("classifier", "top-1 on val", "top-1 on test", "interval"), rows)
        if _is_beaten_on_test(metrics["classifiers"].values()):
            print(CHOSEN_ON_VAL)
    if gains := [*_gain_rows()]:
        print_table(("what it brought", "points", "interval"), gains)
    print_table(("stage", "seconds", "from the cache", "result"), _stage_rows())
    for line in _next_steps(metrics):
        print(line)
    print(f"report: {(DATA / 'report' / 'index.html').absolute()}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns and an empty line. Cells that are too long for the terminal are wrapped."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if not number or name in WORDS else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    is_known = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(markup=False, highlight=False, width=None if is_known else PIPE_WIDTH)
    with console.capture() as capture:
        console.print(table)
    print(TRAILING.sub(lambda tail: tail[0].replace(" ", ""), capture.get()))


def _next_steps(metrics: Mapping[str, Any]) -> Iterable[str]:
    """What suspected labels mean for the figures above, and what to do about them; nothing without any."""
    from pipeline.report.review import FILE, doubt_of_test, is_worth_looking, open_suspects, suspects_line

    path = DATA / "prepare" / "manifest.json"
    manifest = _read(path) if path.exists() else {}
    listed = _rows(DATA / "evaluate" / "suspects.csv")
    suspects = open_suspects(listed, manifest)
    clean = metrics["test"].get(UNAUGMENTED)
    if clean and (doubt := doubt_of_test(suspects, clean["n"])):
        yield doubt
    rest = DATA / "evaluate" / "unlisted.json"
    if line := suspects_line(listed, manifest, _read(rest) if rest.exists() else {}):
        yield line
    if is_worth_looking(listed, manifest):
        yield f"Look at {DATA / 'report' / 'index.html'} from the first on, write keep, relabel or drop into"
        yield f"column action of {DATA / 'report' / FILE}, then run   python -m stages.relabel && dvc repro"


def _scores_row(name: str, scores: Mapping[str, float]) -> tuple[str, ...]:
    return name, f"{scores['n']:,}", f"{scores['top1']:.1%}", _interval(scores)


def _classifier_row(stage: str, scores: Mapping[str, float]) -> tuple[str, ...]:
    name = f"{stage}, used" if scores["used"] else stage
    val = f"{scores['val_accuracy']:.1%}" if "val_accuracy" in scores else ""
    return (name, val, f"{scores['top1']:.1%}", _interval(scores)) if "top1" in scores else (name, val, "", "")


def _is_beaten_on_test(classifiers: Iterable[Mapping[str, float]]) -> bool:
    """Whether one that is not used has more right on test."""
    (used, *others) = sorted(classifiers, key=lambda scores: -scores["used"])
    return any(other.get("top1", 0) > used.get("top1", 0) for other in others)


def _interval(scores: Mapping[str, float]) -> str:
    return f"{scores['top1_low']:.1%} to {scores['top1_high']:.1%}"


def _gain_rows() -> Iterable[tuple[str, ...]]:
    """What fine-tuning brings over the head, on test, and all cached variants together bring to the head, on val."""
    for row in _rows(DATA / "evaluate" / "classifiers.csv"):
        if (row["group"], row["name"]) == ("test", UNAUGMENTED):
            low, high = (_points(float(row[name])) for name in ("change_low", "change_high"))
            yield "fine-tuning, on test", _points(float(row["change"])), f"{low} to {high}"
    for row in _rows(DATA / "evaluate" / "variants.csv"):
        if (row["variant"], row["class"]) == (TOGETHER, ""):
            deviation = f"± {100 * float(row['deviation']):.1f} over seeds"
            yield "cached variants, to the head, on val", _points(float(row["gain"])), deviation + _coarseness()


def _coarseness() -> str:
    """How much a single image of val is, if that is more than a rounding."""
    path = DATA / "prepare" / "manifest.json"
    count = _read(path).get("images", {}).get("val", 0) if path.exists() else 0
    return f"; 1 of {count:,} images is {100 / count:.1f}" if 0 < count < FEW_VAL else ""


def _points(share: float) -> str:
    return f"{100 * share + 0.0:+.1f}"


def _rows(path: Path) -> list[dict[str, str]]:
    """Of a table, empty if it was not written because there was nothing to compare."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _stage_rows() -> Iterable[tuple[str, ...]]:
    from pipeline.config.params import STAGES

    for stage in STAGES:
        run = read_record(DATA, stage)
        if not run:
            yield stage, "", "", "restored by DVC from its own cache"
            continue
        yield stage, f"{run['seconds']:.1f}", f"{run['cached']:,}" if "cached" in run else "", run["summary"]


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    try:
        main()
    except FileNotFoundError as error:
        print(f"error: {error.filename}: no such file. Run dvc repro first.", file=sys.stderr)
        sys.exit(2)
