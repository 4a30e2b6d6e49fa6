"""What a person may correct, as the table review.csv that `stages.relabel` reads: one row per file."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from pipeline.config.shared.stages import EVALUATE
from pipeline.report.charts import number
from pipeline.report.results import Row, RunResults

LISTED = 1000  # mistakes in the table
ENOUGH = 20  # decisions, as in heads/suspects.py
FILE = "review.csv"
UNLISTED = f"{EVALUATE}/unlisted.json"
SUSPECT = "suspected label"
SEPARATOR = "; "  # between the kinds of a file, and between its notes


@dataclass(frozen=True)
class ReviewRow:
    """A row of review.csv. now: the image's class. label: the suggested one. action: for the person to fill in.

    kind: why it is listed; the suggestion and its probability are those of the first kind, if there are several.
    """

    kind: str
    file: str
    split: str
    now: str
    label: str
    probability: str
    action: str
    note: str


def review_rows(results: RunResults) -> list[ReviewRow]:
    """Suspected labels, mistakes, doubtful images and near duplicates that have a file: each file once.

    The surest suspects come first. Images that a person has decided about are left out.
    """
    decided = _decided(results.manifest)
    by_file: dict[str, list[ReviewRow]] = {}
    for row in _rows_by_kind(results):
        if row.file and row.file not in decided:
            by_file.setdefault(row.file, []).append(row)
    return [_joined(rows) for rows in by_file.values()]


def review_csv(rows: Iterable[ReviewRow]) -> str:
    """The text of review.csv."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    names = [field.name for field in fields(ReviewRow)]
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in rows)
    return target.getvalue()


def kinds_of(kind: str) -> list[str]:
    """The kinds that a cell of column kind joins, the one that gives the suggestion first."""
    return [name.strip() for name in kind.split(SEPARATOR.strip())]


def count_kinds(rows: Iterable[ReviewRow]) -> Counter[str]:
    """How many files there are of each kind; a file of two kinds counts for both."""
    return Counter(kind for row in rows for kind in kinds_of(row.kind))


def open_suspects(suspects: Sequence[Row], manifest: Mapping[str, Any]) -> list[Row]:
    """The rows of suspects.csv that no person has decided about, the surest first."""
    decided = _decided(manifest)
    return [row for row in suspects if row["path"] not in decided]


def expected_wrong(suspects: Sequence[Row], manifest: Mapping[str, Any], unlisted: Mapping[str, float]) -> str:
    """How many open suspects are probably wrong, and whether it is time to stop; empty without suspects and decisions.

    suspects: rows of suspects.csv, which of them are open the manifest says. unlisted: of unlisted.json.
    """
    waiting = open_suspects(suspects, manifest)
    decided = len(_decided(manifest))
    if not waiting:
        return f"No suspected label is left: you can stop here.{_of_the_rest(unlisted)}" if decided else ""
    expected = _expected(waiting)
    if expected is None:
        return f"How many of them are really wrong is said once {ENOUGH} are kept or relabelled."
    if not expected:
        stop = f"None of them is expected to be wrong, by {decided:,} labels kept or corrected: you can stop here."
        return stop + _of_the_rest(unlisted)
    verb = "is" if expected == 1 else "are"
    wrong = f"About {expected:,} of them {verb} expected to be wrong, by {decided:,} labels kept or corrected."
    return f"{wrong} Photos that you cannot judge: drop them."


def _of_the_rest(unlisted: Mapping[str, float]) -> str:
    """What may still be wrong where nothing is suspected."""
    if not unlisted:
        return " Not every wrong label is suspected: look at the mistakes too."
    expected = round(unlisted["expected"])
    count = f"about {expected:,}" if expected else "none"
    verb = "is" if expected <= 1 else "are"
    others = f"{int(unlisted['images']):,} photos that are neither suspected nor decided about"
    return f" Of the {others}, {count} {verb} expected to be wrong."


def is_worth_looking(suspects: Sequence[Row], manifest: Mapping[str, Any]) -> bool:
    """Whether any open suspect may be wrong, as far as a person's decisions tell."""
    waiting = open_suspects(suspects, manifest)
    return bool(waiting) and _expected(waiting) != 0


def _expected(suspects: Sequence[Row]) -> int | None:
    """How many of the suspects are probably wrong; None if a person has decided about too few images."""
    shares = [number(row.get("expected")) for row in suspects]
    known = [share for share in shares if share is not None]
    return round(sum(known)) if len(known) == len(shares) else None


def suspects_line(suspects: Sequence[Row], manifest: Mapping[str, Any], unlisted: Mapping[str, float]) -> str:
    """For the terminal: how many suspects are open and what is expected of them; empty without any."""
    outlook = expected_wrong(suspects, manifest, unlisted)
    return f"suspected labels: {len(open_suspects(suspects, manifest)):,}. {outlook}" if outlook else ""


def outlook_of(results: RunResults) -> str:
    """The line of `suspects_line` for a run."""
    listed = results.table(f"{EVALUATE}/suspects.csv")
    return suspects_line(listed, results.manifest, results.json(UNLISTED))


def doubt_of_test(suspects: Sequence[Row], count: int) -> str:
    """What suspected labels among the `count` images of test mean for the accuracy on them.

    suspects: the open ones. Empty if none is of test, or none of those is expected to be wrong.
    """
    rows = [row for row in suspects if row["split"] == "test"]
    doubtful = len(rows)
    if not doubtful or _expected(rows) == 0:
        return ""
    verb, which = ("is", "it") if doubtful == 1 else ("are", "them")
    among = f"{doubtful:,} of the {count:,} test photos {verb} among the suspected labels"
    return f"{among}: correct {which}, then test again."


def _decided(manifest: Mapping[str, Any]) -> set[str]:
    """Files that a person keeps as they are, or has given another label."""
    relabel = manifest.get("relabel", {})
    return {*relabel.get("kept", ()), *relabel.get("relabelled", ())} if isinstance(relabel, Mapping) else set()


def _joined(rows: Sequence[ReviewRow]) -> ReviewRow:
    """One row of a file's rows of several kinds."""
    kinds = SEPARATOR.join(row.kind for row in rows)
    notes = SEPARATOR.join(dict.fromkeys(row.note for row in rows if row.note))
    return replace(rows[0], kind=kinds, note=notes)


def _rows_by_kind(results: RunResults) -> Iterator[ReviewRow]:
    for row in results.table(f"{EVALUATE}/suspects.csv"):
        yield _by_heads(SUSPECT, row)
    for row in _mistakes(results)[:LISTED]:
        classes = (row["actual"], row["predicted"])
        yield ReviewRow("mistake", row["path"], "test", *classes, row["probability"], "", "")
    for row in results.table(f"{EVALUATE}/doubtful.csv"):
        yield _by_heads("low confidence", row)
    for row in results.table(f"{EVALUATE}/near_duplicates.csv"):
        note = f"nearly the same as {row['train_path']} in train, class {row['train_class']}"
        yield ReviewRow("near duplicate", row["path"], row["split"], row["actual"], "", row["cosine"], "", note)


def _by_heads(kind: str, row: Row) -> ReviewRow:
    own = number(row["label_probability"]) or 0.0
    earlier = " in an earlier run, still open" if own > (number(row["probability"]) or 0.0) else ""
    note = f"{kind}{earlier}: its own class has {own:.3f}"
    return ReviewRow(kind, row["path"], row["split"], row["label"], row["predicted"], row["probability"], "", note)


def _mistakes(results: RunResults) -> list[Row]:
    """Wrong predictions on test, the surest first."""
    rows = [row for row in results.table(f"{EVALUATE}/predictions.csv") if row["actual"] != row["predicted"]]
    return sorted(rows, key=lambda row: -(number(row["probability"]) or 0.0))
