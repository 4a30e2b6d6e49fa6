"""Labels that a table gives: CSV, TSV, a spreadsheet, Hugging Face's metadata, or WebDataset's `.cls` files.

A table has a column of files, one of labels, and perhaps one of splits, in any order and by their usual names; a table
of two or three columns without a header is read as file, label and split. Files are named relative to the table or to
the source, or by a name that is there once, with or without its ending.
"""

import csv
import io
import json
import zipfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from cache.errors import InputError
from pipeline.ingest.names import folder_of, printable
from pipeline.ingest.split_words import UNLABELLED, WORDS, split_word, split_words

TABLES = (".csv", ".tsv", ".jsonl", ".xlsx")
SIDECAR = ".cls"
FILE_COLUMNS: tuple[str, ...] = (
    "file",
    "file_name",
    "filename",
    "filepath",
    "file_path",
    "path",
    "image",
    "image_path",
    "image_name",
)
FILE_COLUMNS += ("img", "image_id", "id", "name")
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "label_name", "category", "target", "species")
SPLIT_COLUMNS = ("split", "set", "subset", "partition")
EXTRA = 'Install the extra: pip install -e ".[tables]", or save it as CSV.'
SHOWN = 3
Row = tuple[str, str, str]  # file, label, split


@dataclass(frozen=True)
class LabelTable:
    """Split and class of each image that the tables name. names: of the tables. remarks: what did not fit."""

    names: tuple[str, ...]
    labels: Mapping[str, tuple[str, str]]
    remarks: list[str] = field(default_factory=list)

    @property
    def description(self) -> str:
        """Such as `labels.csv`."""
        more = f" and {len(self.names) - SHOWN:,} more" if len(self.names) > SHOWN else ""
        return ", ".join(self.names[:SHOWN]) + more


def read_label_table(
    tables: Mapping[str, bytes], sidecars: Mapping[str, str], names: Collection[str], wanted: str = ""
) -> LabelTable | None:
    """The labels of all tables that name images, or of the wanted one; None if no table does.

    tables: contents by name. sidecars: texts of `.cls` files by name. names: of the images. Raises InputError if the
    wanted table has no such columns or names no image, a split is unknown, or an image has several labels.
    """
    chosen = {name: content for name, content in tables.items() if not wanted or _is_wanted(name, wanted)}
    if wanted and not chosen:
        remedy = "Name a table inside the source, such as labels.csv."
        raise InputError("no such table", where=f"prepare.labels {wanted}", expected=", ".join(tables), remedy=remedy)
    rows_of = {name: list(_rows(name, content, bool(wanted))) for name, content in sorted(chosen.items())}
    if not any(rows_of.values()) and not sidecars and not wanted:
        return None
    index = _FileIndex(names)
    used: dict[str, list[Row]] = {}
    missing: list[str] = []
    for name, rows in rows_of.items():
        known = [(file, label, split) for row in rows for file, label, split in _located(row, name, index)]
        if known:
            used[name] = known
            missing += [row[0] for row in rows if not index.find(row[0], folder_of(name))]
    if wanted and not used:
        raise InputError("names no image of the source", where=wanted, expected="a column of files, one of labels")
    if not wanted and (own := list(_from_sidecars(sidecars, index))):
        used[f"*{SIDECAR}"] = own
    if not used:
        return None
    return LabelTable(tuple(used), _merged(used, names), _remarks(used, missing))


def _is_wanted(name: str, wanted: str) -> bool:
    path = PurePosixPath(wanted).as_posix()
    return name == path or name.endswith(f"/{path}")


class _FileIndex:
    """Images by their whole names, and by shorter ones that only one of them has."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        shorter: dict[str, set[str]] = defaultdict(set)
        for name in names:
            parts = name.split("/")
            for start in range(len(parts)):
                tail = "/".join(parts[start:])
                shorter[tail].add(name)
                shorter[_stem(tail)].add(name)
        self._unique = {short: next(iter(long)) for short, long in shorter.items() if len(long) == 1}

    def find(self, file: str, folder: str) -> str:
        """The image that a table in a folder means; empty if there is none."""
        path = printable(file.strip().replace("\\", "/")).removeprefix("./")
        beside = f"{folder}/{path}" if folder else path
        if beside in self._names:
            return beside
        return self._unique.get(path) or self._unique.get(beside, "")


def _stem(name: str) -> str:
    """Without its ending; what follows the first dot of the file belongs to it in a WebDataset."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _located(row: Row, table: str, index: _FileIndex) -> Iterator[Row]:
    """The row with the image's name and a split that the table itself names, if the image is there."""
    file, label, split = row
    name = index.find(file, folder_of(table))
    if name:
        yield name, label, _split_named(split, table) if split else _split_of_table(table)


def _split_named(text: str, table: str) -> str:
    word = split_word(text)[0] or text.lower()
    if word not in WORDS:
        raise InputError("unknown split", where=table, expected="train, val or test", found=text)
    return WORDS[word]


def _split_of_table(table: str) -> str:
    """`train.csv` holds training images; empty if the table's name says nothing."""
    word, others = split_word(_stem(table.rpartition("/")[2]))
    return WORDS[word] if word and not set(others) - {"labels", "label", "annotations", "metadata"} else ""


def _from_sidecars(sidecars: Mapping[str, str], index: _FileIndex) -> Iterator[Row]:
    for name, text in sidecars.items():
        image = index.find(name.removesuffix(SIDECAR), "")
        if image:
            yield image, text.strip(), ""


def _merged(used: Mapping[str, Sequence[Row]], names: Collection[str]) -> dict[str, tuple[str, str]]:
    """Split and class by image. An image without a split has that of its folder. Raises InputError for two labels."""
    by_folder = _splits_of_folders(names)
    labels: dict[str, tuple[str, str]] = {}
    for table, rows in used.items():
        for name, label, named in rows:
            split = named or by_folder.get(_top(name), "train")
            safe = _class_name(label)
            before = labels.setdefault(name, (split if safe else UNLABELLED, safe))
            if before[1] != safe:
                pair = f"{before[1]} and {safe}"
                remedy = "Give each image one label."
                raise InputError(f"{name} has two labels", where=table, found=pair, remedy=remedy)
    return labels


def _class_name(label: str) -> str:
    return printable(" ".join(label.split())).replace("/", "-")


def _top(name: str) -> str:
    return name.partition("/")[0] if "/" in name else ""


def _splits_of_folders(names: Collection[str]) -> dict[str, str]:
    """The split of each top folder that is named like one."""
    words = split_words({_top(name) for name in names} - {""})
    return {folder: WORDS[word] for folder, word in words.items()}


def _remarks(used: Mapping[str, Sequence[Row]], missing: Sequence[str]) -> list[str]:
    remarks = [f"labels are those of {', '.join(list(used)[:SHOWN])}"]
    if missing:
        first = ", ".join(map(printable, missing[:SHOWN]))
        more = ", ..." if len(missing) > SHOWN else ""
        remarks.append(f"{len(missing):,} of their rows name files that are not there: {first}{more}")
    return remarks


def _rows(name: str, content: bytes, needed: bool) -> Iterator[Row]:
    """File, label and split of each row; nothing if the table has no such columns. needed: say so instead."""
    records = [record for record in _records(name, content, needed) if any(record)]
    if not records:
        return
    header = [cell.strip().lower() for cell in records[0]]
    columns = [_column(header, usual) for usual in (FILE_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS)]
    body = records[1:]
    if columns[0] is None or columns[1] is None:
        has_header = columns[0] is not None or columns[1] is not None or len(header) not in (2, 3)
        if has_header:
            if needed:
                expected = f"a column {FILE_COLUMNS[0]} and a column {LABEL_COLUMNS[0]}"
                raise InputError("columns are missing", where=name, expected=expected, found=", ".join(header))
            return
        columns = [0, 1, 2 if len(header) == 3 else None]
        body = records
    for record in body:
        cells = [record[at] if at is not None and at < len(record) else "" for at in columns]
        if cells[0].strip():
            yield cells[0], cells[1], cells[2].strip()


def _column(header: Sequence[str], usual: Sequence[str]) -> int | None:
    return next((header.index(name) for name in usual if name in header), None)


def _records(name: str, content: bytes, needed: bool) -> Iterator[list[str]]:
    """The cells of each line, header first."""
    if name.endswith(".xlsx"):
        yield from _spreadsheet(name, content, needed)
        return
    text = content.decode("utf-8-sig", "backslashreplace")
    if name.endswith(".jsonl"):
        yield from _json_lines(name, text)
        return
    first = text.partition("\n")[0]
    delimiter = "\t" if name.endswith(".tsv") else max(",;\t", key=lambda mark: (first.count(mark), mark == ","))
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    except csv.Error as error:
        if needed:
            raise InputError(f"is no table: {error}", where=name) from error


def _json_lines(name: str, text: str) -> Iterator[list[str]]:
    try:
        records = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise InputError("has a line that is not JSON", where=name, remedy="Mend it, or take it away.") from error
    if records and all(isinstance(record, dict) for record in records):
        header = list(Counter(key for record in records for key in record))
        yield header
        for record in records:
            yield ["" if record.get(key) is None else str(record[key]) for key in header]


def _spreadsheet(name: str, content: bytes, needed: bool) -> Iterator[list[str]]:
    try:
        from openpyxl import load_workbook  # type: ignore[import-untyped]
    except ImportError as error:
        if needed:
            raise InputError("is a spreadsheet, whose reader is not installed", where=name, remedy=EXTRA) from error
        return
    try:
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError("is a damaged spreadsheet", where=name, remedy="Save it as CSV.") from error
    for row in book.worksheets[0].iter_rows(values_only=True):
        yield ["" if cell is None else str(cell) for cell in row]
