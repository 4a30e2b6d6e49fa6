"""Colours as sRGB: transparency on white, and colour profiles applied.

An ICC profile is converted to sRGB (relative colorimetric, with black point compensation), unless it is sRGB itself,
whatever its name: then pixels keep their bytes. A profile that is damaged, or is for other channels than the image
has, is ignored, as web browsers do: an image without a profile is taken as sRGB, or as Adobe RGB if its EXIF says so,
as cameras write it.
"""

import io
import struct
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms

SRGB = ImageCms.createProfile("sRGB")
# Made from the primaries and the gamma of the standard by tests/pictures.py.
ADOBE_RGB = Path(__file__).with_name("adobe_rgb.icc").read_bytes()
ADOBE_RGB_INDEX = "R03"  # EXIF's interoperability index (DCF option file)
INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
# What an image of a mode is to a profile; every other mode counts as RGB.
CHANNELS = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK", "LAB": "LAB"}
# The channels that a profile of each kind can convert; an RGB profile takes grey as three equal channels.
CONVERTED = {"RGB": {"RGB": "RGB", "L": "RGB"}, "GRAY": {"L": "L"}, "CMYK": {"CMYK": "CMYK"}}
# sRGB profiles differ by how they round their curve: two levels at most, near black, as measured on lcms's own.
SAME_LEVELS = 2
GRID = (0, 16, 32, 64, 96, 128, 160, 192, 224, 255)
# What reading damaged EXIF raises.
EXIF_DAMAGE = (
    *(OSError, SyntaxError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RuntimeError),
    *(EOFError, AssertionError, struct.error),
)
TRANSFORMS = 64  # profiles held ready; a data set rarely has more than a few


def to_srgb(image: Image.Image) -> Image.Image:
    """A loaded image of 8 bits per channel, in any mode, as RGB in sRGB, transparent parts white."""
    transform = _transform_of(image)
    if image.has_transparency_data:
        overlay = image.convert("RGBA")
        if transform is not None:
            colours = transform.apply(overlay.convert(transform.input_mode))
            colours.putalpha(overlay.getchannel("A"))
            overlay = colours
        return Image.alpha_composite(Image.new("RGBA", overlay.size, "white"), overlay).convert("RGB")
    if transform is not None:
        return transform.apply(image.convert(transform.input_mode))
    return image if image.mode == "RGB" else image.convert("RGB")


def _transform_of(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """The way to sRGB; None if there is no profile, or one that changes nothing or cannot be used."""
    profile = image.info.get("icc_profile") or _profile_by_exif(image)
    if not isinstance(profile, bytes) or not profile:
        return None
    return _make_transform(profile, CHANNELS.get(image.mode, "RGB"))


def _profile_by_exif(image: Image.Image) -> bytes | None:
    with suppress(*EXIF_DAMAGE):
        index = image.getexif().get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex)
        if index == ADOBE_RGB_INDEX:
            return ADOBE_RGB
    return None


@lru_cache(maxsize=TRANSFORMS)
def _make_transform(profile: bytes, channels: str) -> ImageCms.ImageCmsTransform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = CONVERTED.get(source.profile.xcolor_space.strip(), {}).get(channels)
        if mode is None:
            return None
        transform = ImageCms.buildTransform(source, SRGB, mode, "RGB", INTENT, FLAGS)
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return None
    return None if _changes_nothing(transform) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a grid of colours stays where it is."""
    channels = len(transform.input_mode)
    if channels == 4:  # CMYK is never sRGB
        return False
    grid = np.stack(np.meshgrid(*[np.array(GRID, dtype=np.uint8)] * channels, indexing="ij"), axis=-1)
    colours = np.ascontiguousarray(grid.reshape(1, -1, channels))
    image = Image.fromarray(colours if channels == 3 else colours[..., 0])
    converted = np.asarray(transform.apply(image), dtype=np.int16)
    return bool(np.abs(converted - np.asarray(image.convert("RGB"))).max() <= SAME_LEVELS)
