import struct

import numpy as np
import pytest
from pictures import packed, png_file, textured
from PIL import Image

from pipeline.ingest.archive import Unreadable
from pipeline.ingest.decode import DecodeOptions, decode

RAMP = np.arange(256).reshape(16, 16)
DOUBT = r"nearly black if it has 16 bits, and may have fewer .*State their depth, prepare.bit_depth"


def grey(values: np.ndarray, kind: str = "PNG", dtype: type = np.uint16) -> bytes:
    return packed(Image.fromarray(values.astype(dtype)), kind)


def levels(content: bytes, bit_depth: int | None = None) -> np.ndarray:
    return decode(content, 16, DecodeOptions(bit_depth))[..., 0]


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14])
@pytest.mark.parametrize(("kind", "dtype"), [("PNG", np.uint16), ("TIFF", np.uint16), ("TIFF", np.int32)])
def test_values_of_fewer_bits_are_refused_unless_their_depth_is_stated(kind: str, dtype: type, bits: int) -> None:
    white = (1 << bits) - 1
    content = grey(np.rint(RAMP * (white / 255)), kind, dtype)
    with pytest.raises(Unreadable, match=DOUBT):
        levels(content)
    assert (levels(content, bits) == RAMP).all()
    assert levels(content, 16).max() == round(white * 255 / 65535)  # dark, because it was said to be


def test_values_above_the_stated_depth_are_refused() -> None:
    with pytest.raises(Unreadable, match="out of range; expected 0 to 4095, found 0 to 65535"):
        levels(grey(RAMP * 257), 12)


def test_all_black_is_black_in_any_depth() -> None:
    assert not levels(grey(RAMP * 0)).any()


def test_a_value_that_is_not_seen_does_not_count() -> None:
    """A transparent value of 65535, as for missing data, over values of 12 bits."""
    rows = b"".join(b"\0" + struct.pack(">2H", 65535, 4000) for _ in range(2))
    content = png_file(2, 2, 16, 0, rows, (b"tRNS", struct.pack(">H", 65535)))
    with pytest.raises(Unreadable, match=DOUBT):
        decode(content, 2)
    assert decode(content, 2, DecodeOptions(12))[0, :, 0].tolist() == [255, 249]


def test_a_pgm_declares_its_depth_unless_it_has_the_usual_16_bits() -> None:
    values = (RAMP * 16).astype(">u2").tobytes()
    assert levels(b"P5 16 16 4095\n" + values).max() == round(255 * 16 * 255 / 4095)
    assert levels(b"P5 16 16 4095\n" + values, 10).max() == round(255 * 16 * 255 / 4095)
    with pytest.raises(Unreadable, match=DOUBT):
        levels(b"P5 16 16 65535\n" + values)


def tiff(bits: int, photometric: int, rows: bytes) -> bytes:
    """A little-endian TIFF of 2 x 1 grey pixels in one strip."""
    tags = [(256, 3, 2), (257, 3, 1), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 3, 1), (279, 4, len(rows))]
    content = b"II*\0" + struct.pack("<I", 8 + len(rows)) + rows + struct.pack("<H", len(tags))
    return content + b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags) + bytes(4)


def test_a_tiff_of_12_bits_declares_them() -> None:
    packed_values = bytes([0xFF, 0xF8, 0x00])  # 4095 and 2048
    assert decode(tiff(12, 1, packed_values + b"\0"), 1)[0, 0, 0] in (191, 192)  # the mean of both, by resizing
    assert decode(tiff(12, 1, bytes([0xFF, 0xFF, 0xFF, 0])), 1)[0, 0].tolist() == [255] * 3


def test_white_is_zero_in_16_bits_too() -> None:
    content = tiff(16, 0, struct.pack("<2H", 60000, 60000))
    assert decode(content, 1)[0, 0].tolist() == [255 - round(60000 * 255 / 65535)] * 3


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colour_of_16_bits_that_uses_fewer_is_refused(channels: int) -> None:
    colour_type = {2: 4, 3: 2, 4: 6}[channels]
    for value, dark in ((4095, True), (255, True), (16383, True), (40000, False)):
        values = [value] * channels if channels == 3 else [*[value] * (channels - 1), 65535]
        rows = (b"\0" + struct.pack(f">{channels}H", *values) * 2) * 2
        content = png_file(2, 2, 16, colour_type, rows)
        assert decode(content, 2, DecodeOptions(16))[0, 0, 0] == value >> 8
        if dark:
            with pytest.raises(Unreadable, match=DOUBT):
                decode(content, 2)
            with pytest.raises(Unreadable, match=r"prepare\.bit_depth=12 cannot scale"):
                decode(content, 2, DecodeOptions(12))
        else:
            assert decode(content, 2)[0, 0, 0] == value >> 8


@pytest.mark.parametrize(
    "content",
    [
        b"P6 2 2 65535\n" + struct.pack(">12H", *[4000] * 12),
        packed(textured().point(lambda value: value // 16), "TIFF"),
    ],
)
def test_only_16_bits_are_doubted(content: bytes) -> None:
    if content.startswith(b"P6"):
        with pytest.raises(Unreadable, match=DOUBT):
            decode(content, 2)
    else:
        assert decode(content, 48).max() <= 15  # 8 bits are 8 bits, however dark


def test_floats_are_0_to_1() -> None:
    assert (levels(grey(RAMP / 255, "TIFF", np.float32)) == RAMP).all()
    assert (levels(grey(RAMP / 255, "TIFF", np.float32), 12) == RAMP).all()
    with pytest.raises(Unreadable, match=DOUBT):
        levels(grey(RAMP / 255 / 16, "TIFF", np.float32))
    for values in (RAMP, RAMP / 255 - 1, np.full((16, 16), np.nan)):
        with pytest.raises(Unreadable, match="out of range; expected 0 to 1"):
            levels(grey(values, "TIFF", np.float32))
