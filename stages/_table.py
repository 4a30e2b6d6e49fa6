"""Tables on the terminal, and the one that ends `make demo`: accuracies, time and cache hits of the last run."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

DATA = Path("data")
PIPE_WIDTH = 240  # characters, if the output is no terminal
WORDS = {"interval", "result", "change, points"}  # columns that are aligned to the left, as the first one is


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
    print_table(("stage", "seconds", "from the cache", "result"), _stage_rows())
    print(f"report: {(DATA / 'report' / 'index.html').absolute()}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns and an empty line."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if not number or name in WORDS else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    console.print(table)
    console.print()


def _scores_row(name: str, scores: Mapping[str, float]) -> tuple[str, ...]:
    return name, f"{scores['n']:,}", f"{scores['top1']:.1%}", _interval(scores)


def _classifier_row(stage: str, scores: Mapping[str, float]) -> tuple[str, ...]:
    name = f"{stage}, used" if scores["used"] else stage
    val = f"{scores['val_accuracy']:.1%}" if "val_accuracy" in scores else ""
    return (name, val, f"{scores['top1']:.1%}", _interval(scores)) if "top1" in scores else (name, val, "", "")


def _interval(scores: Mapping[str, float]) -> str:
    return f"{scores['top1_low']:.1%} to {scores['top1_high']:.1%}"


def _stage_rows() -> Iterable[tuple[str, ...]]:
    from pipeline.config.params import STAGES

    for stage in STAGES:
        path = DATA / "runs" / f"{stage}.json"
        if not path.exists():
            yield stage, "", "", "restored by DVC from its own cache"
            continue
        run = _read(path)
        yield stage, f"{run['seconds']:.1f}", f"{run['cached']:,}" if "cached" in run else "", run["summary"]


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    try:
        main()
    except FileNotFoundError as error:
        print(f"error: {error.filename}: no such file. Run dvc repro first.", file=sys.stderr)
        sys.exit(2)
