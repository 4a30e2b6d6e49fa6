"""Data sets that lie on disk as a few large files: CIFAR (binary), MNIST (idx), Hugging Face (parquet, arrow).

Each image in them becomes an entry of its own, `<split>/<class>/<number>.png`, as if it lay in class folders. Pickles
are never opened, so CIFAR's python version is refused.
"""

import gzip
import io
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from cache.errors import InputError
from cache.layout import Array
from pipeline.ingest.entries import Entry, Unreadable, first_bytes

CIFAR_BINARY = re.compile(r"(.*/)?(?P<file>data_batch_[1-5]|test_batch|train|test)\.bin")
CIFAR_PICKLED = re.compile(r"(.*/)?(data_batch_[1-5]|test_batch|cifar-100-python/(train|test))")
IDX = re.compile(
    r"(.*/)?(?P<set>[\w.-]*?)(?P<split>train|t10k|test)-(?P<kind>images|labels)[.-]idx[13]-ubyte(?P<gz>\.gz)?"
)
COLUMNS = re.compile(r".*\.(parquet|arrow)")
USUAL = (".jpg", ".jpeg", ".png")  # endings of most files, which need no look
CIFAR_SIDE = 32
CIFAR_10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR_100_NAMES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard "
    "lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear "
    "pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark "
    "shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone "
    "television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)  # in the order of their numbers
IDX_SIZES = {"images": 16, "labels": 8}  # bytes of the header
PICKLED = "is a pickled data set, which is not opened: a pickle can run any code"


def unpacked(entries: Iterator[Entry]) -> Iterator[Entry]:
    """The entries, and in place of files of packed data sets the images in them. Raises InputError for pickled ones."""
    waiting: dict[str, dict[str, bytes]] = {}
    for entry in entries:
        if entry.name.lower().endswith(USUAL):
            yield entry
        elif match := CIFAR_BINARY.fullmatch(entry.name):
            yield from _cifar(entry, match["file"])
        elif CIFAR_PICKLED.fullmatch(entry.name) and entry.read(1) == b"\x80":
            remedy = "Take the binary version, cifar-10-binary.tar.gz or cifar-100-binary.tar.gz."
            raise InputError(PICKLED, where=entry.name, remedy=remedy)
        elif match := IDX.fullmatch(entry.name):
            yield from _idx(entry, match, waiting)
        elif COLUMNS.fullmatch(entry.name):
            from pipeline.ingest.columns import images_in_columns

            yield from images_in_columns(entry)
        else:
            yield entry


def _cifar(entry: Entry, file: str) -> Iterator[Entry]:
    """Rows of one or two bytes of labels and 3,072 of pixels, planes of red, green and blue."""
    fine = file in ("train", "test")
    labels = 2 if fine else 1
    names = (CIFAR_100_NAMES if fine else CIFAR_10_NAMES).split()
    try:
        content = np.frombuffer(entry.read(), np.uint8)
    except Unreadable:  # far larger than any of theirs
        yield entry
        return
    width = labels + 3 * CIFAR_SIDE**2
    if not len(content) or len(content) % width:
        yield entry
        return
    rows = content.reshape(-1, width)
    if rows[:, labels - 1].max() >= len(names):
        yield entry
        return
    split = "test" if file.startswith("test") else "train"
    for number, row in enumerate(rows):
        name = f"{split}/{names[row[labels - 1]]}/{file}-{number:05d}.png"
        yield _made(name, partial(_cifar_image, row[labels:]))


def _cifar_image(pixels: Array) -> Array:
    return np.ascontiguousarray(pixels.reshape(3, CIFAR_SIDE, CIFAR_SIDE).transpose(1, 2, 0))


def _idx(entry: Entry, match: re.Match[str], waiting: dict[str, dict[str, bytes]]) -> Iterator[Entry]:
    """Images wait for their labels, or labels for their images; a packed copy beside its file is not read again."""
    key = f"{match[1] or ''}{match['set']}{match['split']}"
    parts = waiting.setdefault(key, {})
    if match["kind"] in parts:
        return
    content = entry.read()
    if match["gz"]:
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise InputError("is damaged", where=entry.name, remedy="Fetch it again.") from error
    parts[match["kind"]] = content
    if len(parts) < 2:
        return
    images = _idx_array(parts["images"], "images", entry.name)
    labels = _idx_array(parts["labels"], "labels", entry.name)
    waiting[key] = dict.fromkeys(parts, b"")
    if len(images) != len(labels):
        raise InputError("has another number of labels than images", where=entry.name, found=f"{len(labels)}")
    split = "train" if match["split"] == "train" else "test"
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        yield _made(f"{split}/{label}/{number:05d}.png", partial(np.asarray, image))


def _idx_array(content: bytes, kind: str, where: str) -> Array:
    """uint8 [n] or [n, h, w] of an idx file: magic number, sizes as big-endian integers, values."""
    dimensions = (IDX_SIZES[kind] - 4) // 4
    header = np.frombuffer(content[: IDX_SIZES[kind]], ">u4")
    sizes = header[1:].tolist()
    count = int(np.prod(sizes, dtype=np.int64))
    if len(header) != dimensions + 1 or header[0] != 0x800 + dimensions or len(content) != IDX_SIZES[kind] + count:
        raise InputError("is damaged, or no idx file", where=where, remedy="Fetch it again.")
    return np.frombuffer(content, np.uint8, offset=IDX_SIZES[kind]).reshape(sizes)


def _made(name: str, pixels: Callable[[], Any]) -> Entry:
    return Entry(name, partial(_png, pixels), anytime=True)


def _png(pixels: Callable[[], Any], most: int | None = None) -> bytes:
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(pixels()).save(target, "PNG", compress_level=0)
    return first_bytes(target.getvalue(), most)
