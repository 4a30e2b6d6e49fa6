import io
from pathlib import Path

import numpy as np
import pytest
from pictures import (
    ADOBE_PRIMARIES,
    ADOBE_RGB,
    DISPLAY_P3,
    P3_PRIMARIES,
    SRGB_CURVE,
    SRGB_PRIMARIES,
    packed,
    profile,
    textured,
    xyz_columns,
)
from PIL import Image, ImageCms

from pipeline.ingest import colour
from pipeline.ingest.decode import decode

SRGB_LCMS = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
COLOURS = np.array([[200, 100, 50], [90, 140, 90], [60, 60, 200], [128, 128, 128], [250, 240, 230]], dtype=np.uint8)
# One level of rounding, one of the matrix in 14 bits that lcms keeps for 8-bit pixels.
LEVELS = 2


def srgb_levels(colours: np.ndarray, primaries: object, gamma: float | None) -> np.ndarray:
    """What colours of other primaries are in sRGB, in double precision."""
    values = colours / 255
    linear = values**gamma if gamma else np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    mixed = linear @ xyz_columns(primaries).T @ np.linalg.inv(xyz_columns(SRGB_PRIMARIES)).T
    mixed = np.clip(mixed, 0, 1)
    return 255 * np.where(mixed <= 0.0031308, mixed * 12.92, 1.055 * mixed ** (1 / 2.4) - 0.055)


def swatch(value: object, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (32, 32), tuple(value) if isinstance(value, np.ndarray) else value)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("icc", "primaries", "gamma"), [(DISPLAY_P3, P3_PRIMARIES, None), (ADOBE_RGB, ADOBE_PRIMARIES, 2.19921875)]
)
def test_colours_of_phones_and_cameras_become_srgb(kind: str, icc: bytes, primaries: object, gamma: float) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    for value, expected in zip(COLOURS, srgb_levels(COLOURS, primaries, gamma), strict=True):
        row = decode(packed(swatch(value), kind, icc_profile=icc, **options), 32)
        assert np.abs(row[16, 16] - expected).max() <= LEVELS


def test_a_jpeg_at_a_fraction_of_its_size_is_converted_too() -> None:
    content = packed(Image.new("RGB", (512, 512), (200, 100, 50)), "JPEG", quality=100, icc_profile=DISPLAY_P3)
    expected = srgb_levels(COLOURS[:1], P3_PRIMARIES, None)[0]
    assert np.abs(decode(content, 16)[8, 8] - expected).max() <= LEVELS + 3  # JPEG rounds each of YCbCr


@pytest.mark.parametrize(
    "icc", [SRGB_LCMS, profile(SRGB_PRIMARIES, SRGB_CURVE, "a name of its own"), profile(None, SRGB_CURVE)]
)
def test_an_srgb_profile_of_any_name_leaves_every_byte(icc: bytes) -> None:
    image = textured(32, 32)
    assert (decode(packed(image, icc_profile=icc), 32) == np.asarray(image)).all()


def test_transparency_and_palettes_are_converted_as_well() -> None:
    expected = srgb_levels(COLOURS[:1], P3_PRIMARIES, None)[0]
    overlay = Image.new("RGBA", (32, 32), (200, 100, 50, 255))
    overlay.paste((200, 100, 50, 0), (0, 0, 8, 8))
    row = decode(packed(overlay, icc_profile=DISPLAY_P3), 32)
    assert row[0, 0].tolist() == [255, 255, 255]
    assert np.abs(row[16, 16] - expected).max() <= LEVELS
    palette = Image.new("P", (32, 32), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    assert np.abs(decode(packed(palette, icc_profile=DISPLAY_P3), 32)[16, 16] - expected).max() <= LEVELS


def test_grey_profiles_apply_to_8_and_to_16_bits() -> None:
    icc = profile(None, 1.0)
    expected = srgb_levels(np.array([[100, 100, 100]]), SRGB_PRIMARIES, 1.0)[0]
    wide = Image.fromarray(np.full((32, 32), 100 * 257, dtype=np.uint16))
    for image in (swatch(100, "L"), Image.merge("LA", [swatch(100, "L"), swatch(255, "L")]), wide):
        assert np.abs(decode(packed(image, icc_profile=icc), 32)[16, 16] - expected).max() <= LEVELS


def test_grey_under_a_profile_of_colour_is_three_equal_channels() -> None:
    expected = srgb_levels(np.array([[100, 100, 100]]), P3_PRIMARIES, 1.8)[0]
    row = decode(packed(swatch(100, "L"), icc_profile=profile(P3_PRIMARIES, 1.8)), 32)
    assert np.abs(row[16, 16] - expected).max() <= LEVELS


@pytest.mark.parametrize(
    "icc", [b"\0", b"no profile", DISPLAY_P3[:200], DISPLAY_P3[:128] + b"\xff" * 300, profile(None, 1.0)]
)
def test_a_profile_that_is_damaged_or_of_other_channels_is_ignored(icc: bytes) -> None:
    image = textured(32, 32)
    assert (decode(packed(image, icc_profile=icc), 32) == np.asarray(image)).all()


def test_cmyk_goes_through_its_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []

    def make(icc: bytes, channels: str) -> None:
        chosen.append((icc, channels))

    monkeypatch.setattr(colour, "_make_transform", make)
    decode(packed(swatch((0, 255, 255, 0), "CMYK"), "TIFF", icc_profile=b"of a press"), 32)
    assert chosen == [(b"of a press", "CMYK")]


def camera_exif(index: str) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif.get_ifd(0x8769)[0xA005] = {1: index}
    return exif


def test_adobe_rgb_named_by_exif_alone_is_converted() -> None:
    expected = srgb_levels(COLOURS[:1], ADOBE_PRIMARIES, 2.19921875)[0]
    assert np.abs(decode(packed(swatch(COLOURS[0]), exif=camera_exif("R03")), 32)[16, 16] - expected).max() <= LEVELS
    assert decode(packed(swatch(COLOURS[0]), exif=camera_exif("R98")), 32)[16, 16].tolist() == [200, 100, 50]


def test_the_profile_of_adobe_rgb_is_made_from_the_standard() -> None:
    assert Path(colour.__file__).with_name("adobe_rgb.icc").read_bytes() == ADOBE_RGB
    assert ImageCms.ImageCmsProfile(io.BytesIO(ADOBE_RGB)).profile.xcolor_space.strip() == "RGB"
