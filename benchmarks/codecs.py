"""Would compression without loss make kept augmented pixels cheaper? Size and speed of codecs on real photos.

    python -m pip install hdf5plugin
    python benchmarks/codecs.py --tiny FOLDER [--images 512]

FOLDER is Tiny ImageNet, unpacked; its photos are 64 px. Those of 224 px are cut from scikit-learn's sample photos and
made smaller, never larger. All are augmented by the policies of params.yaml, one draw each, as augment keeps them. A
chunk is one image, so that any image can be read alone. Speeds are MB of raw pixels per second of one thread's
processor time; every codec's pixels are compared with what went in.
"""

import argparse
import io
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from stage_runs import ROOT, machine, write_json

from cache.layout import Array
from cache.reader import read_images
from cache.records import ImageSet
from cache.writer import write_images
from pipeline.augmentation.policy import make_augmentation
from pipeline.config.augment import AugmentConfig
from pipeline.config.params import read_params

VARIANTS = ("spatial_1", "color_1")
PHOTOS = 128  # of 224 px


@dataclass(frozen=True)
class Codec:
    """pack: images uint8 [n, h, w, 3] to what `unpack` needs and the number of its bytes."""

    pack: Callable[[Array], tuple[Any, int]]
    unpack: Callable[[Any], Array]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", type=Path, required=True)
    parser.add_argument("--images", type=int, default=512, help="of 64 px")
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/codecs.json"))
    given = parser.parse_args()
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for size, photos in ((64, tiny_photos(given.tiny, given.images)), (224, cut_photos())):
        kept = augmented(photos, size)
        print(f"{size} px, {len(kept):,} images{'ratio':>22}{'pack, MB/s':>12}{'unpack, MB/s':>14}")
        figures[str(size)] = {name: measure(codec, kept) for name, codec in codecs().items()}
        for name, figure in figures[str(size)].items():
            print(f"{name:<36}{figure['ratio']:>7.2f}{figure['pack']:>12,.0f}{figure['unpack']:>14,.0f}")
    write_json(given.out, {"machine": machine(), **figures})


def tiny_photos(folder: Path, count: int) -> Array:
    """Photos of 64 px from all classes."""
    paths = sorted(folder.glob("train/*/images/*.JPEG"))
    chosen = paths[:: max(1, len(paths) // count)][:count]
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in chosen])


def cut_photos() -> Array:
    """Squares of 224 to 427 px from two photos, brought to 224 px."""
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(0)
    squares = []
    for photo in load_sample_images().images:
        height, width = photo.shape[:2]
        for _ in range(PHOTOS // 2):
            side = int(random.integers(224, height + 1))
            top = int(random.integers(0, height - side + 1))
            left = int(random.integers(0, width - side + 1))
            square = Image.fromarray(photo[top : top + side, left : left + side])
            squares.append(np.asarray(square.resize((224, 224), Image.Resampling.BICUBIC)))
    return np.stack(squares)


def augmented(photos: Array, size: int) -> Array:
    """One draw of each policy of each photo, as augment keeps it."""
    config = read_params(ROOT / "params.yaml", [f"augment.size={size}"]).augment
    assert isinstance(config, AugmentConfig)
    keys = ImageSet(photos, np.zeros(len(photos), int), np.zeros(len(photos), "S1"), ("a",)).keys()
    return np.concatenate([make_augmentation(config, variant)(photos, keys) for variant in VARIANTS])


def measure(codec: Codec, images: Array) -> dict[str, float]:
    """Raw size over packed size, and MB of raw pixels per second. Raises ValueError if pixels change."""
    started = time.process_time()
    packed, size = codec.pack(images)
    between = time.process_time()
    unpacked = codec.unpack(packed)
    ended = time.process_time()
    if not np.array_equal(unpacked, images):
        raise ValueError("the codec loses pixels")
    megabytes = images.nbytes / 1e6
    return {
        "ratio": images.nbytes / size,
        "pack": megabytes / (between - started),
        "unpack": megabytes / (ended - between),
    }


def codecs() -> dict[str, Codec]:
    """Every codec by name: filters of HDF5, of hdf5plugin, and formats of single images."""
    plugin = import_module("hdf5plugin")
    blosc = plugin.Blosc2
    filters: dict[str, Mapping[str, Any]] = {
        "h5py lzf": {"compression": "lzf"},
        "h5py gzip 1": {"compression": "gzip", "compression_opts": 1},
        "h5py shuffle, gzip 4": {"compression": "gzip", "shuffle": True},
        "bitshuffle, LZ4": plugin.Bitshuffle(),
        "bitshuffle, zstd 3": plugin.Bitshuffle(cname="zstd", clevel=3),
        "zstd 3": plugin.Zstd(clevel=3),
        "Blosc2 shuffle, zstd 5": blosc(cname="zstd", clevel=5, filters=blosc.SHUFFLE),
        "Blosc2 bitshuffle, zstd 5": blosc(cname="zstd", clevel=5, filters=blosc.BITSHUFFLE),
        "Blosc2 delta, zstd 5": blosc(cname="zstd", clevel=5, filters=blosc.DELTA),
    }
    formats: dict[str, tuple[str, dict[str, Any]]] = {
        "PNG, level 1": ("PNG", {"compress_level": 1}),
        "PNG, level 6": ("PNG", {"compress_level": 6}),
        "WebP, method 0": ("WEBP", {"lossless": True, "quality": 0, "method": 0}),
        "WebP, method 1, effort 20": ("WEBP", {"lossless": True, "quality": 20, "method": 1}),
    }
    by_filter = {name: Codec(pack_chunks(options), unpack_chunks) for name, options in filters.items()}
    by_format = {name: Codec(pack_files(*options), unpack_files) for name, options in formats.items()}
    return {"none, as kept": Codec(pack_plain, unpack_plain), **by_filter, **by_format}


def pack_plain(images: Array) -> tuple[Any, int]:
    """What augment writes, with checksums."""
    path = Path(tempfile.mkdtemp()) / "images.h5"
    labels = np.zeros(len(images), int)
    write_images(path, ImageSet(images, labels, np.zeros(len(images), "S1"), ("a",)))
    return path, path.stat().st_size


def unpack_plain(path: Path) -> Array:
    """What training reads, checked."""
    images = read_images(path).images[:]
    shutil.rmtree(path.parent)
    return images


def pack_chunks(options: Mapping[str, Any]) -> Callable[[Array], tuple[Any, int]]:
    def pack(images: Array) -> tuple[Any, int]:
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            rows = file.create_dataset("rows", data=images, chunks=(1, *images.shape[1:]), **dict(options))
            return buffer, int(rows.id.get_storage_size())

    return pack


def unpack_chunks(buffer: Any) -> Array:
    with h5py.File(buffer, "r") as file:
        return np.asarray(file["rows"][...])


def pack_files(name: str, options: Mapping[str, Any]) -> Callable[[Array], tuple[Any, int]]:
    def pack(images: Array) -> tuple[Any, int]:
        packed = []
        for image in images:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, name, **dict(options))
            packed.append(buffer.getvalue())
        return packed, sum(map(len, packed))

    return pack


def unpack_files(packed: Any) -> Array:
    return np.stack([np.asarray(Image.open(io.BytesIO(content))) for content in packed])


if __name__ == "__main__":
    main()
