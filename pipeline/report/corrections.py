"""Corrections out of review.csv as a person has filled it in, and the table of them beside the source."""

import csv
import io
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cache.errors import InputError
from cache.files import write_text
from pipeline.config.prepare import PrepareConfig
from pipeline.config.shared.stages import EVALUATE
from pipeline.config.train_model import OFF, TrainModelConfig
from pipeline.ingest.manifest import source_name
from pipeline.ingest.relabels import (
    OPEN,
    Correction,
    corrections_text,
    digest_of,
    parse_corrections,
    refuse_unknown,
)
from pipeline.report.charts import number
from pipeline.report.review import SUSPECT, kinds_of

BEFORE = "before"  # a folder with the figures of a run before corrections


def read_review(path: Path, accept: float) -> dict[str, Correction]:
    """The corrections of a table, by file, and which suspects are still open.

    accept: suggestions that are at least so probable count as given.
    Raises InputError if there is no such table, or a row cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError("no such table", where=path, remedy="Run report, or name a table.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=path, remedy="Save it as CSV in UTF-8.") from error
    first = text.partition("\n")[0]
    if ";" in first and "," not in first:  # as spreadsheets save it where the comma is a decimal point
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=";")
        text = _as_csv([dict(enumerate(row)) for row in rows], with_header=False)
    return parse_corrections(_accepted(text, accept), str(path))


def _accepted(text: str, accept: float) -> str:
    """The text with the suggestions that are taken, or left open, where the person wrote nothing."""
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
    rows = list(reader)
    decided = {row.get("file") for row in rows if row.get("action", "").strip()}
    for row in rows:
        suggests = kinds_of(row.get("kind", ""))[0] == SUSPECT  # a file of several kinds has the first one's suggestion
        if suggests and row.get("file") not in decided:
            row["action"] = "relabel" if _probability(row) >= accept else OPEN
    return _as_csv(rows, with_header=True) if rows else text


def _probability(row: Mapping[str, str]) -> float:
    """Of the suggestion, with a point or with a comma, as some spreadsheets write it; 0 if there is none."""
    return number(row.get("probability", "").replace(",", ".")) or 0.0


def _as_csv(rows: Sequence[Mapping[Any, str]], with_header: bool) -> str:
    target = io.StringIO()
    writer = csv.DictWriter(target, list(rows[0]), lineterminator="\n", extrasaction="ignore")
    if with_header:
        writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()


def refuse_unknown_classes(corrections: Mapping[str, Correction], manifest: Path) -> None:
    """Raise InputError for a class that prepare has not made; nothing is known before it has run."""
    try:
        classes = list(json.loads(manifest.read_text(encoding="utf-8"))["classes"])
    except (FileNotFoundError, ValueError, KeyError):
        return
    refuse_unknown(corrections, classes, "column label")


def write_corrections(config: PrepareConfig, corrections: Mapping[str, Correction]) -> Path:
    """Write all corrections into a table beside the source."""
    text = corrections_text(corrections)
    source = Path("data.csv") if config.source == "digits" else Path(config.source).expanduser()
    folder = source.parent if os.access(source.parent, os.W_OK) else Path()
    stem = re.sub(r"[^\w.-]+", "-", source_name(config.source)) or "source"
    path = folder / f"{stem}.relabel-{digest_of(text.encode())}.csv"
    write_text(path, text)
    return path


def summary_of(corrections: Mapping[str, Correction]) -> str:
    """Such as `3 to relabel, 1 to drop, 2 to keep`."""
    counts = Counter(own.action for own in corrections.values())
    return ", ".join(f"{counts[action]:,} to {action}" for action in ("relabel", "drop", "keep") if counts[action])


def next_steps(data: Path, training: TrainModelConfig, command: str) -> Iterator[str]:
    """What to run after corrections, and if there are results already, how to compare them.

    If a network is trained, also how rounds of corrections take less time.
    """
    if (data / EVALUATE).exists():
        names = itertools.chain([BEFORE], (f"{BEFORE}-{number}" for number in itertools.count(2)))
        free = next(name for name in names if not Path(name).exists())
        keep = f"cp -r {data / EVALUATE} {free}"
        compare = f"python -m stages.compare {BEFORE} {data}"
        if free == BEFORE:
            yield f"to see what it brings:   {keep}   once, and in the end {compare}"
        else:
            yield f"to see what all rounds since {BEFORE} bring, in the end: {compare}   (this one alone: first {keep})"
    if training.recipe != OFF:
        yield "until the last round, quicker:   make run SOURCE=... FLAGS=--no-finetune"
    yield f"now run   {command}"
