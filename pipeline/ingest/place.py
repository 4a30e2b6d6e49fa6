"""Which class and split each image of a source has: by a table, or by folders, then as a person corrected it."""

from dataclasses import replace
from importlib.util import find_spec

from cache.errors import InputError
from pipeline.config.prepare import PrepareConfig
from pipeline.ingest import columns
from pipeline.ingest.label_tables import EXTRA as SPREADSHEET_EXTRA
from pipeline.ingest.label_tables import LabelTable, read_label_table
from pipeline.ingest.layouts import Layout, match_layout
from pipeline.ingest.listing import Listing
from pipeline.ingest.passed_over import describe_listing
from pipeline.ingest.relabels import Applied, apply_corrections, read_corrections

MOST_KNOWN = 0.9  # share of images that a table must name to be worth a word


def place(listing: Listing, config: PrepareConfig) -> Layout:
    """Find the classes and splits of what a source holds. Raises InputError if no layout fits, naming the source."""
    official = {split for split in ("val", "test") if getattr(config, split) == "official"}
    wanted = {"train", *official}
    try:
        return _placed(listing, config, wanted)
    except InputError as error:
        beside = f"{describe_listing(listing)} {_missing_reader(listing)}".strip()
        line = str(error).removesuffix(".") if beside else str(error)
        raise InputError(line, where=config.source, remedy=beside) from error


def corrected(layout: Layout, listing: Listing, config: PrepareConfig) -> tuple[Layout, Applied]:
    """The layout with the corrections that prepare.relabel names. Raises InputError if they cannot be used."""
    if config.relabel is None:
        return layout, Applied()
    layout, applied = apply_corrections(layout, read_corrections(config.relabel), listing.spellings, config.relabel)
    return layout, replace(applied, resplit=config.imbalance is not None)


def _placed(listing: Listing, config: PrepareConfig, wanted: set[str]) -> Layout:
    """By the table that is named; else by folders; else, if these do not fit, by a table that names the images."""
    if config.labels not in ("auto", "folders"):
        table = read_label_table(listing.tables, listing.sidecars, listing.names, config.labels)
        return match_layout(listing.names, listing.annotations, wanted, table=table)
    if config.labels == "folders" or not (listing.tables or listing.sidecars):
        return match_layout(listing.names, listing.annotations, wanted, config.layout)
    table = read_label_table(listing.tables, listing.sidecars, listing.names)
    try:
        layout = match_layout(listing.names, listing.annotations, wanted, config.layout)
    except InputError:
        if table is None:
            raise
        return match_layout(listing.names, listing.annotations, wanted, table=table)
    if table is not None and _contradicts(table, layout):
        use = f"prepare.labels={table.names[0]} uses them"
        layout.remarks.append(f"labels are those of the folders; {table.description} has others, {use}")
        return replace(layout, other_table=table.names[0])
    return layout


def _contradicts(table: LabelTable, layout: Layout) -> bool:
    """Whether a table of nearly all images divides them otherwise than the folders do."""
    pairs = set()
    known = 0
    for name, label in zip(layout.names, layout.labels.tolist(), strict=True):
        own = table.labels.get(layout.prefix + name, ("", ""))[1]
        known += bool(own)
        pairs.add((label, own))
    labels = {own for _, own in pairs}
    return known >= MOST_KNOWN * len(layout.names) and not len(pairs) == len(labels) == len(layout.classes)


def _missing_reader(listing: Listing) -> str:
    """What to install for files that were passed over because a library is missing; empty if nothing."""
    kinds = {kind for _, kind in listing.passed_over}
    if kinds & {".parquet", ".arrow"} and not columns.can_read():
        return f"To read .parquet and .arrow files install the extra: {columns.EXTRA}"
    if ".xlsx" in kinds and find_spec("openpyxl") is None:
        return f"To read .xlsx files: {SPREADSHEET_EXTRA}"
    return ""
