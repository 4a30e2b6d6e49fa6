import io
import struct

import numpy as np
import pytest
from pictures import FILES, FORMATS, UNDER_EXTRA, packed, png_file, textured
from PIL import Image, ImageOps

from pipeline.ingest.archive import Unreadable
from pipeline.ingest.bit_depth import WIDE_MODES
from pipeline.ingest.decode import RULES, DecodeOptions, decode, decode_image


def plain(mode: str, colour: object, side: int = 8) -> Image.Image:
    return Image.new(mode, (side, side), colour)


def corners(row: np.ndarray) -> list[list[int]]:
    return [row[0, 0].tolist(), row[0, -1].tolist(), row[-1, 0].tolist(), row[-1, -1].tolist()]


def test_an_image_of_the_stored_size_keeps_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert (decode(packed(Image.fromarray(pixels)), 16) == pixels).all()


def test_shorter_side_is_resized_and_longer_side_cropped_at_the_centre() -> None:
    pixels = np.zeros((32, 96, 3), dtype=np.uint8)
    pixels[:, 32:64] = 200
    row = decode(packed(Image.fromarray(pixels)), 16)
    assert row.shape == (16, 16, 3)
    assert (row[:, 2:-2].astype(int) - 200 >= -1).all()  # without the crop, black would reach in from both sides


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(decode(packed(Image.fromarray(stripes)), 16)[4:-4, 4:-4].astype(int) - 128).max() <= 2


def test_a_very_long_image_does_not_grow_beyond_the_square() -> None:
    assert decode(packed(Image.new("RGB", (1, 50_000), (9, 8, 7))), 64)[32, 32].tolist() == [9, 8, 7]


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (plain("L", 77), "PNG", [77, 77, 77]),
        (plain("1", 1), "PNG", [255, 255, 255]),
        (plain("LA", (0, 128)), "PNG", [127, 127, 127]),
        (plain("RGBA", (255, 0, 0, 0)), "PNG", [255, 255, 255]),
        (plain("RGBA", (255, 0, 0, 255)), "PNG", [255, 0, 0]),
        (plain("RGBA", (0, 0, 0, 51)), "WEBP", [204, 204, 204]),
        (plain("RGB", (1, 2, 3)), "BMP", [1, 2, 3]),
        (plain("RGB", (1, 2, 3)), "TIFF", [1, 2, 3]),
        (plain("RGB", (1, 2, 3)), "PPM", [1, 2, 3]),
        (plain("RGB", (1, 2, 3)), "TGA", [1, 2, 3]),
        (plain("CMYK", (0, 255, 255, 0)), "TIFF", [255, 0, 0]),
        (plain("F", 0.5), "TIFF", [128, 128, 128]),
    ],
)
def test_every_mode_becomes_rgb(image: Image.Image, kind: str, expected: list[int]) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    assert decode(packed(image, kind, **options), 8)[4, 4].tolist() == expected


def test_cmyk_jpeg_is_not_inverted() -> None:
    red = decode(packed(plain("CMYK", (0, 255, 255, 0), 16), "JPEG", quality=95), 16)[8, 8]
    assert np.abs(red.astype(int) - [255, 0, 0]).max() < 6


@pytest.mark.parametrize(
    ("kind", "value", "expected"), [("PNG", 65535, 255), ("PNG", 257 * 70, 70), ("TIFF", 32768, 128)]
)
def test_16_bits_are_scaled_and_not_clipped(kind: str, value: int, expected: int) -> None:
    image = Image.fromarray(np.full((8, 8), value, dtype=np.uint16))
    assert decode(packed(image, kind), 8)[0, 0].tolist() == [expected] * 3


def test_a_16_bit_pgm_is_scaled() -> None:
    content = b"P5 8 8 65535\n" + np.full(64, 257 * 90, dtype=">u2").tobytes()
    assert decode(content, 8)[0, 0].tolist() == [90, 90, 90]


def test_palette_with_transparency_lies_on_white() -> None:
    image = plain("P", 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((0, 0), 0)
    row = decode(packed(image, transparency=0), 8)
    assert (row[0, 0].tolist(), row[4, 4].tolist()) == ([255, 255, 255], [10, 20, 30])


def test_exif_rotation_is_applied() -> None:
    image = plain("RGB", 0, 16)
    image.paste((250, 0, 0), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    assert corners(decode(packed(image, exif=exif), 16)) == [[0, 0, 0], [250, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_damaged_exif_does_not_cost_the_image() -> None:
    content = packed(plain("RGB", (9, 9, 9), 16), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\x12")
    assert decode(content, 16)[8, 8].tolist() == [9, 9, 9]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    frames = [plain("RGB", colour) for colour in ("#ff0000", "#00ff00")]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = packed(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode(content, 8)[4, 4].tolist() == [255, 0, 0]


def test_a_large_jpeg_decodes_to_nearly_the_same_at_a_fraction_of_its_size() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 1024).astype(np.uint8)[None, :, None], (1024, 1024, 3))
    row = decode(packed(Image.fromarray(np.ascontiguousarray(ramp)), "JPEG", quality=95), 32)
    assert np.abs(row[16, :, 0].astype(int) - np.linspace(4, 251, 32)).max() <= 3


def png_header(width: int, height: int) -> bytes:
    return png_file(width, height, 8, 2, b"\0" * 100)


whole_jpeg = packed(Image.effect_noise((64, 64), 80).convert("RGB"), "JPEG")
whole_png = packed(Image.effect_noise((64, 64), 80).convert("RGB"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"hello, I am a text", "is no image"),
        (b"\0" * 1000, "is no image"),
        (whole_jpeg[: len(whole_jpeg) // 2], "truncated"),
        (whole_png[: len(whole_png) // 2], "cannot be decoded"),
        (png_header(12_000, 9_000), "has 12000 x 9000 pixels, more than 100,000,000"),
        (png_header(10_000_000, 1_000_000), "has 10000000 x 1000000 pixels, more than 100,000,000"),
        (packed(plain("F", 3.5), "TIFF"), "grey values are out of range; expected 0 to 1, found 3.5 to 3.5"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no image"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_cannot_be_read_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decode(content, 16)


@pytest.mark.parametrize("kind", FILES)
def test_every_format_is_read_as_pillow_reads_it(kind: str) -> None:
    if UNDER_EXTRA.get(kind, "PNG") not in Image.OPEN:
        pytest.skip("its decoder is an extra")
    content = FILES[kind]()
    with Image.open(io.BytesIO(content), formats=[name for name in FORMATS if name in Image.OPEN]) as image:
        image.load()
        ours_to_do = image.mode in WIDE_MODES or image.has_transparency_data or "icc_profile" in image.info
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    side = min(expected.shape[:2])
    middle = decode(content, side)[side // 4 : -side // 4, side // 4 : -side // 4]
    assert middle.std() > 0
    if not ours_to_do:
        top = (expected.shape[0] - side) // 2
        left = (expected.shape[1] - side) // 2
        square = expected[top : top + side, left : left + side]
        assert (middle == square[side // 4 : -side // 4, side // 4 : -side // 4]).all()


def test_damaged_pixels_are_refused_with_and_without_exif() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for options in ({}, {"exif": exif}):
        content = bytearray(packed(textured(), **options))
        start = content.index(b"IDAT") + 40
        content[start] ^= 1
        with pytest.raises(Unreadable, match="cannot be decoded"):
            decode(bytes(content), 16)


@pytest.mark.parametrize("kind", ["png", "png grey 16", "png palette", "apng", "ico", "icns"])
def test_no_flipped_bit_of_a_pngs_pixels_goes_unnoticed(kind: str) -> None:
    whole = FILES[kind]()
    start = whole.rindex(b"IDAT") if kind != "apng" else whole.index(b"IDAT")
    length = int.from_bytes(whole[start - 4 : start])
    for place in np.random.default_rng(0).integers(start + 4, start + 4 + length, size=60):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(place % 8)
        with pytest.raises(Unreadable, match="cannot be decoded"):
            decode(bytes(damaged), 16)


def test_a_damaged_chunk_that_holds_no_pixels_costs_nothing() -> None:
    whole = png_file(2, 2, 8, 0, b"\0\x70\xc0" * 2)
    end = whole.index(b"IEND") - 4
    text = b"\0\0\0\x04tEXta\0bc" + b"bad!"
    assert decode(whole[:end] + text + whole[end:], 2)[0, 1].tolist() == [192] * 3


@pytest.mark.parametrize(
    "error", [AssertionError, UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), Exception("a new kind")]
)
def test_whatever_a_decoder_raises_is_one_line(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Image.Image) -> None:
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(Unreadable, match=r"cannot be decoded: \S"):
        decode(packed(textured()), 16)


def test_exif_that_raises_an_assertion_does_not_cost_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Image.Image) -> None:
        raise AssertionError

    monkeypatch.setattr("PIL.Image.Image.getexif", fail)
    assert decode(packed(plain("RGB", (9, 9, 9), 16), "PNG"), 16)[8, 8].tolist() == [9, 9, 9]


@pytest.mark.skipif("JXL" not in Image.OPEN, reason="its decoder is an extra")
def test_exif_does_not_turn_a_jpeg_xl_whose_codestream_has_the_say() -> None:
    image = plain("RGB", 0, 16)
    image.paste((250, 0, 0), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    row = decode(packed(image, "JXL", lossless=True, exif=exif.tobytes()), 16)
    assert corners(row) == [[250, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]


def transparent(*value: int) -> tuple[bytes, bytes]:
    return b"tRNS", struct.pack(f">{len(value)}H", *value)


# Two columns: transparent grey, and opaque grey of 192 or thereabouts.
@pytest.mark.parametrize(
    ("content", "opaque"),
    [
        (png_file(2, 2, 1, 0, b"\0\x80" * 2, transparent(1)), 0),
        (png_file(2, 2, 2, 0, b"\0\x60" * 2, transparent(1)), 170),
        (png_file(2, 2, 4, 0, b"\0\x9b" * 2, transparent(9)), 187),
        (png_file(2, 2, 8, 0, b"\0\x70\xc0" * 2, transparent(0x70)), 192),
        (png_file(2, 2, 16, 0, b"\0\x70\x01\xc0\xc0" * 2, transparent(0x7001)), 192),
        (png_file(2, 2, 8, 2, (b"\0" + b"\x70" * 3 + b"\xc0" * 3) * 2, transparent(0x70, 0x70, 0x70)), 192),
        (png_file(2, 2, 16, 2, (b"\0" + b"\x70\x01" * 3 + b"\xc0" * 6) * 2, transparent(*[0x7001] * 3)), 192),
        (png_file(2, 2, 8, 3, b"\0\0\1" * 2, (b"PLTE", b"\1\2\3\xc0\xc0\xc0"), (b"tRNS", b"\0")), 192),
        (png_file(2, 2, 8, 4, b"\0\x70\0\xc0\xff" * 2), 192),
        (png_file(2, 2, 16, 4, b"\0\x70\0\0\0\xc0\xc0\xff\xff" * 2), 192),
        (png_file(2, 2, 8, 6, (b"\0" + b"\x70" * 3 + b"\0" + b"\xc0" * 3 + b"\xff") * 2), 192),
        (png_file(2, 2, 16, 6, (b"\0" + b"\x70\1" * 3 + b"\0\0" + b"\xc0" * 6 + b"\xff\xff") * 2), 192),
    ],
)
def test_what_is_transparent_in_a_png_becomes_white_and_nothing_else(content: bytes, opaque: int) -> None:
    assert decode(content, 2)[0].tolist() == [[255] * 3, [opaque] * 3]


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("TIFF", mode) for mode in ("LA", "PA", "RGBA")),
        *(("JPEG2000", mode) for mode in ("LA", "RGBA")),
        *((kind, "RGBA") for kind in ("WEBP", "TGA", "ICO", "QOI", "DDS", "SGI", "AVIF")),
        ("GIF", "P"),
    ],
)
def test_what_is_transparent_becomes_white_in_every_format(kind: str, mode: str) -> None:
    side = 32
    image = Image.new("L" if mode == "P" else mode, (side, side), {"LA": (70, 0), "PA": (0, 0), "P": 0}.get(mode, 0))
    options = {"ICO": {"sizes": [(32, 32)]}, "WEBP": {"lossless": True}, "GIF": {"transparency": 0}}.get(kind, {})
    assert decode(packed(image, kind, **options), 32)[16, 16].tolist() == [255, 255, 255]


def test_endings_that_are_never_decoded_are_refused_by_name() -> None:
    thumbnail = packed(textured(), "TIFF")
    for name in ("a/photo.NEF", "a/photo.dng", "photo.cr2 "):
        with pytest.raises(Unreadable, match=r"is a raw camera file .* Save it as JPEG"):
            decode(thumbnail, 16, name=name)
    with pytest.raises(Unreadable, match=r"is of a format that is not read \(.jxr\)"):
        decode(thumbnail, 16, name="photo.jxr")
    assert decode(thumbnail, 16, name="a/photo.tif").shape == (16, 16, 3)


WIDE = np.zeros((20, 40, 3), dtype=np.uint8) + np.array([200, 0, 0], dtype=np.uint8)


@pytest.mark.parametrize(
    ("fit", "reds"),
    [("crop", 16 * 16), ("pad", 8 * 16), ("squash", 16 * 16)],
)
def test_an_image_is_cropped_padded_or_squashed(fit: str, reds: int) -> None:
    image = decode(packed(Image.fromarray(WIDE)), 16, DecodeOptions(fit=fit))
    assert image.shape == (16, 16, 3)
    red = (image == [200, 0, 0]).all(axis=2)
    assert red.sum() == reds
    if fit == "pad":
        assert red[4:12].all() and (image[0] == [124, 116, 104]).all()


def test_pad_and_squash_keep_what_a_crop_loses() -> None:
    halves = WIDE.copy()
    halves[:, 30:] = [0, 0, 200]
    blue = [(decode(packed(Image.fromarray(halves)), 16, DecodeOptions(fit=fit))[..., 2] > 150).sum() for fit in RULES]
    assert blue[0] == 0 and blue[1] > 0 and blue[2] > blue[1]


def test_the_sides_of_an_image_are_known_before_it_is_square() -> None:
    assert decode_image(packed(Image.fromarray(WIDE)), 16).sides == (40, 20)
