"""Read a source of labelled images: list it, place it, then decode what is wanted into a file of pixels.

The source is walked twice. The first walk only names files, so a wrong layout, a missing split or a full disk is
found before any work; the second decodes, in threads (Pillow lets go of the interpreter), each image into its own
place in one file on disk. A packed tar archive is unpacked once: the second walk reads what the first one unpacked.
A folder is instead decoded in tasks if it makes a large set, or by a cluster. Memory holds names, ids and labels, and a
bounded number of images in flight.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import InputError
from cache.files import check_space
from cache.layout import Array, hex_keys
from cache.parts import PartStore
from cache.records import ImageSet
from cache.stored_rows import GatheredRows
from pipeline.config.prepare import PrepareConfig
from pipeline.config.shared.featurize import SMALL_SIZE
from pipeline.ingest import columns
from pipeline.ingest.choose_files import choose_files, hash_files, rule_of
from pipeline.ingest.class_groups import plan_groups
from pipeline.ingest.decode import DecodeOptions, recipe_of
from pipeline.ingest.decode_tasks import FolderFiles, decode_in_tasks
from pipeline.ingest.label_tables import EXTRA as SPREADSHEET_EXTRA
from pipeline.ingest.label_tables import LabelTable, read_label_table
from pipeline.ingest.layouts import Layout, match_layout
from pipeline.ingest.listing import Listing, list_source
from pipeline.ingest.passed_over import PassedOver, describe_listing, find_passed_over
from pipeline.ingest.pixel_file import SQUARE, DecodedSource, Decoding
from pipeline.ingest.relabels import Applied, apply_corrections, read_corrections
from pipeline.ingest.split import (
    Duplicates,
    explain_losses,
    find_duplicates,
    imbalanced_rows,
    refuse_duplicates,
    split_rows,
    without_looking,
)
from pipeline.ingest.steady_split import FormerImages, split_steadily
from pipeline.runtime.progress import Progress
from pipeline.runtime.workers import Pool

FITS = {
    "crop": "their centres are kept, crop",
    "pad": "they are kept whole between grey borders",
    "squash": "they are kept whole, their proportions changed",
}
FILES_COLUMNS = ("id", "split", "row", "class", "path")
MOST_KNOWN = 0.9  # share of images that a table must name to be worth a word
PHOTO = 2  # times the stored size: images of more pixels lose what a backbone for larger ones would see
FIRST = 3  # unreadable images that the error names; the list on disk names all


@dataclass(frozen=True)
class Resizing:
    """How images were brought to the size that they are stored at, in pixels.

    count, smallest: of those that were smaller. median: of the sides of all. For images that are not square it is the
    side that the fit brings to the stored size.
    """

    count: int
    smallest: int
    median: int
    size: int

    @classmethod
    def of(cls, sides: Array, config: PrepareConfig) -> "Resizing":
        """sides int [n, 2]: of the images as they were. By a crop the shorter one is brought to the stored size."""
        size = config.size
        resized = sides.min(axis=1) if config.fit == "crop" else sides.max(axis=1)
        small = resized[resized < size]
        median = int(np.median(resized)) if len(resized) else size
        return cls(len(small), int(small.min(initial=size)), median, size)

    def lines(self) -> Iterator[str]:
        """What a user is told: images that were enlarged, and photos of which a small backbone sees little."""
        if self.count:
            yield (
                f"{self.count:,} images are ENLARGED to prepare.size, {self.size} px; the smallest has "
                f"{self.smallest} px. To store fewer pixels, set prepare.size, and featurize.size for a faster backbone"
            )
        if self.size <= SMALL_SIZE and self.median > PHOTO * self.size:
            yield (
                f"half of the images have {self.median:,} px or more, and are stored at {self.size} px. A backbone for "
                "larger images tells them apart better: python -m stages.start looks at them and names one"
            )


@dataclass(frozen=True)
class Source:
    """Everything read from a source. Columns [n] in the order of names; ids are the SHA-256 of the sized pixels.

    names are without the folders that all images share, paths as the source has them. lost: how many images of each
    class cannot be read. unreadable: images that are not among the rows, and why. ignored: files that are no images, by
    ending; passed_over has them by class. not_chosen: images that were left out before any was decoded.
    resizing: how they came to the stored size. recipe: what made the pixels. new_parts: part files that this run
    has written of them. relabel: what corrections changed. fit: how images became square, elongated: how many had to.
    former: the rows as they were before corrections, dropped: the images that these leave out; None without any.
    """

    images: GatheredRows
    names: list[str]
    paths: list[str]
    ids: Array
    labels: Array
    held: Array
    classes: tuple[str, ...]
    lost: Array  # int [classes]
    unreadable: dict[str, str]
    ignored: dict[str, int]
    passed_over: PassedOver
    resizing: Resizing
    recipe: dict[str, Any]
    new_parts: frozenset[Path] = frozenset()
    not_chosen: int = 0
    relabel: Applied = field(default_factory=Applied)
    fit: str = "crop"
    elongated: int = 0
    former: FormerImages | None = None
    dropped: FormerImages | None = None

    def take(self, rows: Array) -> "Source":
        """The chosen rows, pixels still on disk."""
        columns = {name: getattr(self, name)[rows] for name in ("ids", "labels", "held")}
        columns |= {} if self.former is None else {"former": self.former.take(rows)}
        names = [self.names[row] for row in rows]
        paths = [self.paths[row] for row in rows]
        return replace(self, images=self.images.take(rows), names=names, paths=paths, **columns)

    def lines(self) -> Iterator[str]:
        """For the terminal: what was passed over, what corrections changed, how images became square."""
        yield from self.passed_over.lines()
        yield from self.relabel.lines()
        yield from self.resizing.lines()
        if self.elongated:
            yield f"{self.elongated:,} images are not square; {FITS[self.fit]} (prepare.fit is {self.fit})"

    @property
    def columns(self) -> tuple[Array, Array, Array, tuple[str, ...]]:
        """What a split is chosen by: ids, labels, held, classes."""
        return self.ids, self.labels, self.held, self.classes

    def of_classes(self, rows: Array, numbers: list[int]) -> "Source":
        """The chosen rows, which are of these classes; the classes numbered anew."""
        chosen = self.take(rows)
        labels = np.searchsorted(numbers, chosen.labels)
        classes = tuple(self.classes[number] for number in numbers)
        return replace(chosen, labels=labels, classes=classes, lost=self.lost[numbers])

    def image_set(self, rows: Array) -> ImageSet:
        """The chosen rows as a set, pixels still on disk."""
        return ImageSet(self.images.take(rows), self.labels[rows], self.ids[rows], self.classes, recipe=self.recipe)


def ingest(config: PrepareConfig, scratch: Path, progress: Progress) -> Source:
    """Read the images of train, and of the official splits that are wanted, into a file of pixels in `scratch`.

    Raises InputError if the source cannot be used, StorageError if the disk refuses.
    """
    spool = scratch / "unpacked.tar"
    with progress(0, "file", "list"):
        listing = list_source(config.source, spool)
    walked = str(spool) if spool.exists() else config.source
    layout, relabel = corrected(place(listing, config), listing, config)
    passed_over = find_passed_over(listing, layout)
    placed = len(layout.names)
    not_chosen = 0
    if config.duplicates == "keep":
        left_out = int(layout.dropped.sum())
        with progress(placed, "file", "choose") as advance:
            layout, moved = choose_files(layout, hash_files(walked, layout, advance), config)
        not_chosen = placed - left_out - len(layout.names)
        spelled = {listing.spelled(layout.prefix + name): split for name, split in moved.items()}
        relabel = replace(relabel, moved=spelled)
    files = FolderFiles.of(config.source, layout, listing)
    decoded = _decode(walked, layout, files, config, scratch, progress)
    spool.unlink(missing_ok=True)
    stays = ~layout.dropped[decoded.slots]
    kept = decoded.slots[stays]
    former, dropped = _former_images(layout, decoded)
    lost = np.flatnonzero(~layout.dropped)
    lost = lost[~np.isin(lost, kept)]
    return Source(
        images=decoded.rows if stays.all() else decoded.rows.take(np.flatnonzero(stays)),
        names=[layout.names[row] for row in kept],
        paths=[listing.spelled(layout.prefix + layout.names[row]) for row in kept],
        ids=hex_keys(decoded.rows.digests[stays]),
        labels=layout.labels[kept],
        held=layout.held[kept],
        classes=layout.classes,
        lost=np.bincount(layout.labels[lost], minlength=len(layout.classes)),
        unreadable=dict(sorted((layout.unplaced | _unreadable(layout, decoded)).items())),
        ignored=dict(sorted(listing.ignored.items())),
        passed_over=passed_over,
        not_chosen=not_chosen,
        resizing=Resizing.of(decoded.sides[kept], config),
        recipe=recipe_of(config),
        new_parts=decoded.new_parts,
        relabel=relabel,
        fit=config.fit,
        elongated=int((decoded.sides[kept].max(axis=1) > SQUARE * decoded.sides[kept].min(axis=1)).sum()),
        former=former,
        dropped=dropped,
    )


def _former_images(layout: Layout, decoded: DecodedSource) -> tuple[FormerImages | None, FormerImages | None]:
    """Images that could be read as they were before corrections: those that stay, and those that are left out."""
    if layout.uncorrected is None:
        return None, None
    slots = decoded.slots
    former = FormerImages(hex_keys(decoded.rows.digests), layout.uncorrected.labels[slots], layout.held[slots])
    dropped = layout.dropped[slots]
    return former.take(np.flatnonzero(~dropped)), former.take(np.flatnonzero(dropped))


def _unreadable(layout: Layout, decoded: DecodedSource) -> dict[str, str]:
    """Without those that a person leaves out."""
    dropped = {layout.names[row] for row in np.flatnonzero(layout.dropped)}
    return {name: reason for name, reason in decoded.unreadable.items() if name not in dropped}


def _decode(
    walked: str, layout: Layout, files: FolderFiles | None, config: PrepareConfig, scratch: Path, progress: Progress
) -> DecodedSource:
    """Decode in tasks if a cluster does it, or if tasks can write part files of a large set; else in one pass."""
    count = len(layout.names)
    groups = plan_groups(layout, config)
    options = DecodeOptions.of(config)
    in_tasks = files is not None and (config.scheduler or any(group.training for group in groups))
    linked = sum(group.training for group in groups) if in_tasks else 0
    check_space(scratch, (2 * count - linked) * config.size**2 * 3)  # decoded images, and sets that copy them
    with progress(count, "image", "decode") as advance:
        if files is None or not in_tasks:
            return Decoding(scratch / "pixels", config.size, advance, options).run(walked, layout)
        store = PartStore(scratch / "decoded", recipe_of(config))
        tasks = [files.task(group, config.size, options, store) for group in groups]
        with Pool(1, config.scheduler) as pool:
            return decode_in_tasks(tasks, pool, advance)


def corrected(layout: Layout, listing: Listing, config: PrepareConfig) -> tuple[Layout, Applied]:
    """The layout with the corrections that prepare.relabel names. Raises InputError if they cannot be used."""
    if config.relabel is None:
        return layout, Applied()
    layout, applied = apply_corrections(layout, read_corrections(config.relabel), listing.spellings, config.relabel)
    return layout, replace(applied, resplit=config.imbalance is not None)


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


def duplicates_among(source: Source, config: PrepareConfig) -> Duplicates:
    """Images of the same pixels, as prepare.duplicates says. Raises InputError if they are refused."""
    if config.duplicates == "keep":
        return without_looking(len(source.ids))
    duplicates = find_duplicates(*source.columns[:3])
    if config.duplicates == "refuse":
        refuse_duplicates(duplicates, source.names)
    return duplicates


def choose_rows(source: Source, duplicates: Duplicates, config: PrepareConfig) -> tuple[Source, dict[str, Array]]:
    """What is left without duplicates and after `imbalance`, and the rows of each split among it."""
    losses = explain_losses(source.labels, source.classes, duplicates, source.lost, source.names)
    unique = source.take(duplicates.kept)
    if config.imbalance and config.duplicates != "keep":
        unique = unique.of_classes(*imbalanced_rows(*unique.columns, config.imbalance, config.seed))
        return unique, split_rows(*unique.columns, rule_of(config), losses)
    if source.former is None or source.dropped is None or unique.former is None:
        return unique, split_rows(*unique.columns, rule_of(config), losses)
    gone = source.former.followed_by(source.dropped).gone(unique.ids, config.duplicates != "keep")
    steady = split_steadily(unique.former, gone, unique.labels, unique.classes, rule_of(config))
    moved = {unique.paths[row]: split for row, split in steady.moved.items()}
    return replace(unique, relabel=replace(unique.relabel, moved=moved)), steady.rows


def write_unreadable(unreadable: dict[str, str], path: Path, refuse: bool) -> list[str]:
    """List every image that cannot be read, one a line; what to say of it. Raises InputError if they are refused."""
    if not unreadable:
        path.unlink(missing_ok=True)
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}: {reason}\n" for name, reason in unreadable.items()), encoding="utf-8")
    count = "1 image" if len(unreadable) == 1 else f"{len(unreadable):,} images"
    lines = [f"{name} {reason}" for name, reason in unreadable.items()]
    first = "; ".join(lines if len(lines) <= FIRST else [*lines[:FIRST], "..."])
    if refuse:
        raise InputError(
            f"{count} cannot be read: {first}",
            remedy=f"All are listed in {path}: mend or delete them, or set prepare.unreadable to allow.",
        )
    return [f"left out {count} that cannot be read: {first}; all are listed in {path}"]


def write_files_csv(path: Path, source: Source, rows: Mapping[str, Array]) -> None:
    """The file that each row of each split was read from: `id,split,row,class,path`, path as the source has it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FILES_COLUMNS)
        for split, index in rows.items():
            for row, chosen in enumerate(index):
                label = source.classes[source.labels[chosen]]
                writer.writerow((source.ids[chosen].decode(), split, row, label, source.paths[chosen]))
