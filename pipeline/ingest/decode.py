"""Bytes of an image file into RGB pixels of the stored size, as a person looking at the file would expect them.

Rotated as EXIF says, the first frame of an animation, palettes resolved, transparency laid on white, colour profiles
converted to sRGB, more than 8 bits scaled to 8. The shorter side is resized to the stored size (Lanczos, antialiased),
the longer one cropped at the centre; other ways to make it square are `FITS`. An image that has the size already keeps
its pixels.

Whatever Pillow refuses is refused, and so is a PNG whose pixels do not match their checksums. Damaged EXIF alone is
not: the image stays as it lies.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageOps

from cache.layout import Array
from pipeline.config.prepare import PrepareConfig
from pipeline.ingest.archive import Unreadable
from pipeline.ingest.bit_depth import WIDE_MODES, check_halved, depth_of, scale_transparent_value, wide_to_8_bits
from pipeline.ingest.colour import EXIF_DAMAGE, to_srgb
from pipeline.ingest.image_formats import EXTENSIONS, check_pixels, open_image, refuse_ending
from pipeline.ingest.png_checksums import HOLDERS, check_pixel_checksums

__all__ = ["EXTENSIONS", "RULE", "RULES", "DecodeOptions", "decode", "squared"]

RULE = "shorter side resized (Lanczos), centre crop"
RULES = {
    "crop": RULE,
    "pad": "longer side resized (Lanczos), the rest filled with grey",
    "squash": "both sides resized (Lanczos)",
}
GREY = (124, 116, 104)  # ImageNet's mean colour, which says nothing to a network
REASON = 200  # characters of a decoder's own words


@dataclass(frozen=True)
class DecodeOptions:
    """bit_depth: of files above 8 bits that do not declare it, None if unknown. max_megapixels: decoded per file.

    fit: how an image becomes square, a key of RULES.
    """

    bit_depth: int | None = None
    max_megapixels: float = 100
    fit: str = "crop"

    @classmethod
    def of(cls, config: PrepareConfig, trained_depth: int | None = None) -> "DecodeOptions":
        """What section `prepare` says; of a classifier the depth that it was trained with, if it was told one."""
        depth = None if config.bit_depth == "auto" else config.bit_depth
        return cls(trained_depth or depth, config.max_megapixels, config.fit)


def recipe_of(config: PrepareConfig) -> dict[str, Any]:
    """What decides pixels besides the files, as a prepared set names it."""
    recipe = {"size": config.size, "size_rule": RULES[config.fit], "decoder": f"pillow {PIL.__version__}"}
    if config.bit_depth != "auto":
        recipe["bit_depth"] = config.bit_depth
    if config.fit != "crop":
        recipe["fit"] = config.fit
    return recipe


@dataclass(frozen=True)
class Decoded:
    """An image. pixels: uint8 [size, size, 3]. sides: width and height before it was made square.

    Large JPEGs are decoded at a fraction.
    """

    pixels: Array
    sides: tuple[int, int]


def decode(content: bytes, size: int, options: DecodeOptions | None = None, name: str = "") -> Array:
    """One image as uint8 [size, size, 3]. name: of the file, whose ending may be one that is not decoded.

    Raises Unreadable with the reason.
    """
    return decode_image(content, size, options, name).pixels


def decode_image(content: bytes, size: int, options: DecodeOptions | None = None, name: str = "") -> Decoded:
    """As `decode`, with the sides that the image had."""
    refuse_ending(name)
    if not content:
        raise Unreadable("is empty")
    chosen = options or DecodeOptions()
    try:
        with open_image(content, 2 * size, chosen.max_megapixels) as image:
            upright = _to_rgb(image, content, chosen)
            return Decoded(np.asarray(SQUARED[chosen.fit](upright, size)), upright.size)
    except Unreadable:
        raise
    except Exception as error:  # decoders raise whatever their code runs into on damaged files
        raise Unreadable(f"cannot be decoded: {_reason(error)}") from error


def squared(image: Array, size: int, fit: str = "crop") -> Array:
    """Pixels uint8 [h, w, 3] as `decode` would give them at a stored size: uint8 [size, size, 3]."""
    return np.asarray(SQUARED[fit](Image.fromarray(image), size))


def _reason(error: Exception) -> str:
    """A decoder's own words, the same in every run: without addresses in memory."""
    words = re.sub(r" at 0x[0-9a-fA-F]+", "", str(error))
    return words[:REASON] or type(error).__name__


def _to_rgb(image: Image.Image, content: bytes, options: DecodeOptions) -> Image.Image:
    depth = depth_of(image, content)
    image.load()  # strictly, and only once: after a failure Pillow hands out what it has without a word
    if image.format in HOLDERS:
        check_pixel_checksums(content)
    check_pixels(image.size, options.max_megapixels)  # icons tell their size only now
    _turn(image)
    if image.mode in WIDE_MODES:
        return to_srgb(wide_to_8_bits(image, depth, options.bit_depth))
    if depth.halved:
        check_halved(image, options.bit_depth)
    scale_transparent_value(image, depth.raw_mode)
    return to_srgb(image)


def _turn(image: Image.Image) -> None:
    """Rotate and mirror as EXIF says."""
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        return  # its decoder has done so; EXIF of JPEG XL has no say, except in a repacked JPEG
    with suppress(*EXIF_DAMAGE):
        ImageOps.exif_transpose(image, in_place=True)


def _cropped(image: Image.Image, size: int) -> Image.Image:
    """Resize and crop in one step, so that a very long image never grows beyond the square."""
    if image.size == (size, size):
        return image
    side = min(image.size)
    left = (image.width - side) / 2
    top = (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)


def _padded(image: Image.Image, size: int) -> Image.Image:
    """All of the image, in the middle of a grey square."""
    longer = max(image.size)
    width, height = (max(1, round(side * size / longer)) for side in image.size)
    square = Image.new("RGB", (size, size), GREY)
    inner = image
    if (width, height) != image.size:
        inner = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    square.paste(inner, ((size - width) // 2, (size - height) // 2))
    return square


def _squashed(image: Image.Image, size: int) -> Image.Image:
    """All of the image, its proportions changed."""
    if image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)


SQUARED = {"crop": _cropped, "pad": _padded, "squash": _squashed}
