"""Bytes of an image file into RGB pixels of the stored size, as a person looking at the file would expect them.

Rotated as EXIF says, the first frame of an animation, palettes resolved, transparency laid on white, 16 bits scaled
to 8. The shorter side is resized to the stored size (Lanczos, antialiased), the longer one cropped at the centre; an
image that has the size already keeps its pixels. Colour profiles are not applied.
"""

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cache.layout import Array
from pipeline.ingest.archive import Unreadable

# .heic and .heif are not decoded: they are listed as unreadable rather than passed over.
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".avif", ".heic", ".heif"}
)
# Named, because other decoders of Pillow start programs (EPS) or are rarely looked after.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "TGA", "JPEG2000", "AVIF")
PIXELS = 100_000_000
RULE = "shorter side resized (Lanczos), centre crop"
WIDE_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
# What Pillow's decoders raise on damaged files.
DAMAGE = (
    *(OSError, SyntaxError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RuntimeError),
    *(EOFError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError),
)
Image.init()  # register every decoder now: Pillow does it on demand, which is not safe in threads


def decode(content: bytes, size: int) -> Array:
    """One image as uint8 [size, size, 3]. Raises Unreadable with the reason."""
    if not content:
        raise Unreadable("is empty")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > PIXELS:
                raise Unreadable(f"has {image.width} x {image.height} pixels, more than {PIXELS:,}")
            image.draft(None, (2 * size, 2 * size))  # large JPEGs decode at a fraction of their size
            return np.asarray(_square(_to_rgb(image), size))
    except UnidentifiedImageError as error:
        raise Unreadable("is no image, or of a format that is not read") from error
    except DAMAGE as error:
        raise Unreadable(f"cannot be decoded: {error}") from error


def squared(image: Array, size: int) -> Array:
    """Pixels uint8 [h, w, 3] as `decode` would give them at a stored size: uint8 [size, size, 3]."""
    return np.asarray(_square(Image.fromarray(image), size))


def _to_rgb(image: Image.Image) -> Image.Image:
    with suppress(*DAMAGE):  # an image with damaged EXIF stays as it lies; damaged pixels raise again below
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode in WIDE_MODES or image.mode == "F":
        return Image.fromarray(_to_8_bits(np.asarray(image, dtype=np.float64), image.mode)).convert("RGB")
    if image.has_transparency_data:
        overlay = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", overlay.size, "white"), overlay).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(values: Array, mode: str) -> Array:
    """Grey of 16 bits (0 to 65535) or of floats (0 to 1) as uint8."""
    top = 1 if mode == "F" else 65535
    if not (values.min() >= 0 and values.max() <= top):
        found = f"{values.min():g} to {values.max():g}"
        raise Unreadable("grey values are out of range", expected=f"0 to {top}", found=found)
    return np.rint(values * (255 / top)).astype(np.uint8)


def _square(image: Image.Image, size: int) -> Image.Image:
    """Resize and crop in one step, so that a very long image never grows beyond the square."""
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
