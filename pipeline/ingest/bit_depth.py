"""Values of more than 8 bits as 8 bits, by what the file or the user says of them; never by what one image holds.

Many programs keep values of 10, 12 or 14 bits in files of 16 or 32 and do not say so. Read as 16 bits they would be
nearly black. So white is
- what the file declares, if it does: a TIFF of 12 bits, a PGM whose largest value is not 65535, a JPEG 2000 image of
  less than 16 bits, floats (white is 1);
- else what the user declares, `prepare.bit_depth`: 2 ** bit_depth - 1;
- else 65535, and an image whose brightest value is below a quarter of that is refused rather than stored dark.
A PNG's sBIT is no declaration: its values fill all 16 bits, as the format asks.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from cache.layout import Array
from pipeline.ingest.archive import Unreadable

WIDE_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
WHITE = 65535
DOUBTFUL = 0.25  # of white
BITS_PER_SAMPLE = 258  # TIFF tags
PHOTOMETRIC = 262
WHITE_IS_ZERO = 0
PPM_CODECS = ("ppm", "ppm_plain")
JPEG_2000_START = b"\xff\x4f\xff\x51"  # SOC and SIZ
JPEG_2000_DEPTH = 42  # from there to Ssiz of the first component
PNG_LEVELS = {"L;2": 85, "L;4": 17}  # what Pillow multiplies grey of 2 and 4 bits by, but not its transparent value


@dataclass(frozen=True)
class Depth:
    """What a file says of its values.

    white: the value of white, None if the file does not say. inverted: whether white is zero.
    halved: whether Pillow keeps the upper 8 of 16 bits, as it does of colour.
    raw_mode: Pillow's name of the values in the file, empty if it has none.
    """

    white: int | None
    inverted: bool
    halved: bool
    raw_mode: str


def depth_of(image: Image.Image, content: bytes) -> Depth:
    """Read what a file declares; image: as opened, not yet loaded."""
    tiles: Any = getattr(image, "tile", ())
    codec, arguments = (tiles[0][0], tiles[0][3]) if tiles else ("", "")
    raw_mode = str(arguments[0] if isinstance(arguments, tuple) else arguments)
    tags: Any = getattr(image, "tag_v2", {})
    wide = image.mode in WIDE_MODES
    largest = arguments[1] if codec in PPM_CODECS else None
    bits = _jpeg_2000_bits(content) if image.format == "JPEG2000" else None
    white = None
    if image.mode == "F":
        white = 1
    elif tags.get(BITS_PER_SAMPLE) == (12,):
        white = 4095
    elif largest not in (None, WHITE) or (bits or 16) < 16:
        white = WHITE  # Pillow stretches them
    return Depth(
        white=white,
        inverted=wide and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO,
        halved=not wide and (bool(re.search(";16[BLN]", raw_mode)) or largest == WHITE or bits == 16),
        raw_mode=raw_mode,
    )


def _jpeg_2000_bits(content: bytes) -> int | None:
    place = content.find(JPEG_2000_START) + JPEG_2000_DEPTH
    return (content[place] & 0x7F) + 1 if JPEG_2000_DEPTH <= place < len(content) else None


def wide_to_8_bits(image: Image.Image, depth: Depth, bit_depth: int | None) -> Image.Image:
    """A loaded grey image of 16 or 32 bits, or of floats, as one of mode L. Raises Unreadable if it is in doubt."""
    values = np.asarray(image)
    value = image.info.get("transparency")
    transparent = np.zeros(values.shape, dtype=bool) if value is None else values == value
    white = depth.white or (WHITE if bit_depth is None else (1 << bit_depth) - 1)
    _check_range(values[~transparent], white, doubted=bit_depth is None and depth.white in (None, 1))
    if image.mode == "F":
        scaled = np.rint(values.astype(np.float64) * 255).astype(np.uint8)
    else:
        levels = np.rint(np.arange(white + 1) * (255 / white)).astype(np.uint8)
        scaled = levels[np.where(transparent, 0, values)]
    grey = Image.fromarray(np.where(transparent, 255, 255 - scaled if depth.inverted else scaled).astype(np.uint8))
    grey.info = {"icc_profile": image.info.get("icc_profile")}
    return grey


def _check_range(values: Array, white: int, doubted: bool) -> None:
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if not (low >= 0 and high <= white):  # which holds for nan too
        remedy = "Save it with 8 bits per channel, or see prepare.bit_depth."
        actual = f"{low:g} to {high:g}"
        raise Unreadable("grey values are out of range", expected=f"0 to {white}", found=actual, remedy=remedy)
    if doubted and 0 < high < DOUBTFUL * white:
        raise _too_dark(f"its brightest value is {high:g} of {white}")


def check_halved(image: Image.Image, bit_depth: int | None) -> None:
    """Raise Unreadable if loaded pixels, the upper 8 of 16 bits, may be from values of fewer bits."""
    bands = [band for band in image.getbands() if band not in ("A", "X")]
    high = int(max(np.asarray(image.getchannel(band)).max() for band in bands))
    if bit_depth is None and high < DOUBTFUL * 255:
        raise _too_dark(f"the upper 8 of its 16 bits are at most {high}")
    if bit_depth is not None and bit_depth < 16:
        remedy = "Save it with 8 bits per channel."
        raise Unreadable(f"is colour of 16 bits, which prepare.bit_depth={bit_depth} cannot scale", remedy=remedy)


def _too_dark(actual: str) -> Unreadable:
    return Unreadable(
        f"is nearly black if it has 16 bits, and may have fewer ({actual})",
        remedy="State their depth, prepare.bit_depth (16 if they are that dark), or save them with 8 bits.",
    )


def scale_transparent_value(image: Image.Image, raw_mode: str) -> None:
    """Bring the transparent value of a PNG to the 8 bits that Pillow brought its pixels to, as it does not itself."""
    value = image.info.get("transparency")
    if isinstance(value, int) and raw_mode in PNG_LEVELS:
        image.info["transparency"] = value * PNG_LEVELS[raw_mode]
    elif isinstance(value, tuple) and raw_mode.endswith(";16B"):
        image.info["transparency"] = tuple(channel >> 8 for channel in value)
