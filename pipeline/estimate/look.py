"""A look at labelled images before anything is decided: classes, sizes, formats, copies, what cannot be read."""

import io
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import islice

import numpy as np
from PIL import Image

from cache.errors import InputError
from cache.layout import Array
from pipeline.config.prepare import PrepareConfig
from pipeline.ingest.archive import Unreadable, walk
from pipeline.ingest.decode import DecodeOptions, decode
from pipeline.ingest.image_formats import open_image
from pipeline.ingest.layouts import Layout
from pipeline.ingest.listing import Listing, list_source
from pipeline.ingest.passed_over import find_passed_over
from pipeline.ingest.place import place
from pipeline.runtime.threads import usable_threads

MOST = 1000  # images that are opened; of more, evenly spread ones
CHUNK = 64  # images in memory at once
NAMED = 3  # files that a line names
SMALL_SIDE = 32  # what images are decoded to, to see whether they can be read
MOST_SIDE = 1024  # that prepare.size may have
SPLITS = ("val", "test")


@dataclass(frozen=True)
class OpenedImage:
    """One image. digest: of the file's bytes. error: why it cannot be read; then the rest is empty."""

    name: str
    digest: bytes
    format: str = ""
    width: int = 0
    height: int = 0
    error: str = ""


@dataclass(frozen=True)
class Look:
    """What a source holds.

    classes: images of each class that may be split, those of official held-out splits aside, and those that were opened
    and cannot be read. official: usable splits of the source's own and their images. refused: why a split of its own
    cannot be used. opened: the images that were looked into. remarks: what prepare would say. table: whose labels were
    taken though folders fit too; empty for none.
    """

    classes: Mapping[str, int]
    official: Mapping[str, int]
    refused: Mapping[str, str]
    opened: Sequence[OpenedImage]
    remarks: Sequence[str]
    table: str = ""

    @property
    def images(self) -> int:
        """How many have a class, can be read as far as is known, and belong to no official held-out split."""
        return sum(self.classes.values())

    @property
    def readable(self) -> list[OpenedImage]:
        """Of the opened ones."""
        return [image for image in self.opened if not image.error]

    @property
    def unreadable(self) -> list[OpenedImage]:
        """Of the opened ones."""
        return [image for image in self.opened if image.error]

    @property
    def sides(self) -> Array:
        """int [k, 2]: shorter and longer side of the opened images."""
        return np.sort(np.array([(image.width, image.height) for image in self.readable]), axis=1)

    @property
    def copies(self) -> list[list[OpenedImage]]:
        """Groups of opened files of the same bytes."""
        groups: dict[bytes, list[OpenedImage]] = defaultdict(list)
        for image in self.readable:
            groups[image.digest].append(image)
        return [group for group in groups.values() if len(group) > 1]

    def lines(self) -> Iterator[str]:
        """What a person should know of the images, one thing per line."""
        counts = self.classes.values()
        per_class = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
        yield f"{self.images:,} images in {len(self.classes):,} classes, {per_class} per class"
        for split, count in self.official.items():
            yield f"{count:,} images in a {split} split of its own"
        for split, reason in self.refused.items():
            yield f"its own {split} split cannot be used: {reason}"
        formats = Counter(image.format for image in self.readable).most_common()
        opened = "all" if len(self.readable) == self.images else f"{len(self.readable):,} looked into"
        yield f"formats ({opened}): {', '.join(f'{name} {count:,}' for name, count in formats)}"
        shorter = self.sides[:, 0]
        longest = int(self.sides[:, 1].max())
        span = f"{shorter.min()} to {shorter.max()} px, half of them below {int(np.median(shorter)) + 1}"
        yield f"shorter side {span if np.ptp(shorter) else f'{shorter[0]} px'}"
        yield from () if longest < 10_000 else [f"the largest is {longest:,} px wide or high"]
        if self.copies:
            copies = sum(len(group) - 1 for group in self.copies)
            pair = " and ".join(image.name for image in self.copies[0][:2])
            yield f"{copies:,} cop{'y' if copies == 1 else 'ies'} of other files, such as {pair}"
        if self.unreadable:
            named = [f"{image.name} {image.error}" for image in self.unreadable[:NAMED]]
            more = ", ..." if len(self.unreadable) > NAMED else ""
            yield f"{len(self.unreadable):,} more cannot be read: {'; '.join(named)}{more}"
        yield from self.remarks


def look_at(config: PrepareConfig, advance: Callable[[int], object] = lambda count: None) -> Look:
    """Open the images of a source. config: val and test are not looked at.

    Raises InputError if the source cannot be used, or no image can be read.
    """
    listing = list_source(config.source)
    layout = place(listing, config.model_copy(update={"val": "none", "test": "none"}))
    table = layout.other_table
    if table:
        config = config.model_copy(update={"labels": table})
        layout = place(listing, config.model_copy(update={"val": "none", "test": "none"}))
    official, refused = _official_splits(listing, layout, config)
    opened = sorted(_open(config, layout, advance), key=lambda image: image.name)
    if all(image.error for image in opened):
        first = f"{opened[0].name} {opened[0].error}"
        raise InputError("no image can be read", where=config.source, found=first, remedy="Check the files.")
    counts = _readable_counts(layout, opened)
    left_out = {split for split in layout.left_out if split in SPLITS}
    lines = find_passed_over(listing, layout).lines()
    remarks = [line for line in lines if not any(f"prepare.{split}=official" in line for split in left_out)]
    return Look(dict(zip(layout.classes, counts.tolist(), strict=True)), official, refused, opened, remarks, table)


def _readable_counts(layout: Layout, opened: Sequence[OpenedImage]) -> Array:
    """int [classes]: images of each class without the opened ones that cannot be read."""
    broken = {image.name for image in opened if image.error}
    labels = layout.labels[[name not in broken for name in layout.names]]
    return np.bincount(labels, minlength=len(layout.classes))


def _official_splits(listing: Listing, layout: Layout, config: PrepareConfig) -> tuple[dict[str, int], dict[str, str]]:
    """Images of the splits that the source makes itself, and why some of them cannot be used."""
    official = {}
    refused = {}
    for split in SPLITS:
        if split not in layout.left_out:
            continue
        wanted = {"val": "none", "test": "none", split: "official"}
        try:
            place(listing, config.model_copy(update=wanted))
            official[split] = layout.left_out[split]
        except InputError as error:
            refused[split] = str(error)
    return official, refused


def _open(config: PrepareConfig, layout: Layout, advance: Callable[[int], object]) -> Iterator[OpenedImage]:
    count = len(layout.names)
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST)).round().astype(int))
    names = {layout.prefix + layout.names[row]: layout.names[row] for row in chosen}
    options = DecodeOptions.of(config)
    entries = (entry for entry in walk(config.source) if entry.name in names)
    contents = ((names[entry.name], _content(entry.read)) for entry in entries)
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(usable_threads()) as threads:  # Pillow's
        while chunk := list(islice(contents, CHUNK)):
            yield from threads.map(partial(_opened, options=options), chunk)
            advance(len(chunk))


def _content(read: Callable[[], bytes]) -> bytes | str:
    """The bytes of a file, or why there are none."""
    try:
        return read()
    except Unreadable as error:
        return str(error)


def _opened(item: tuple[str, bytes | str], options: DecodeOptions) -> OpenedImage:
    name, content = item
    if isinstance(content, str):
        return OpenedImage(name, b"", error=content)
    digest = sha256(content).digest()
    try:
        decode(content, SMALL_SIDE, options, name)
    except Unreadable as error:
        return OpenedImage(name, digest, error=str(error))
    image: Image.Image
    try:
        image = Image.open(io.BytesIO(content))
    except Image.DecompressionBombError:  # a JPEG that decodes at a fraction of its size, so its size is not known
        image = open_image(content, MOST_SIDE, options.max_megapixels)
    with image:
        return OpenedImage(name, digest, image.format or "", *image.size)
