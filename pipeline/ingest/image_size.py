"""How many pixels a file asks for, where its decoder does not say so before it takes the memory."""

from typing import Any, cast

JXL_CODESTREAM = b"\xff\x0a"
JXL_CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
JXL_SIGNATURES = (JXL_CODESTREAM, JXL_CONTAINER)
JXL_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height
JXL_SIDE_BITS = (9, 13, 18, 30)
START_OF_SCAN = 0xDA
PIXEL_BYTES = 4  # Pillow's, of an RGB image
COEFFICIENT_BYTES = 2


def jxl_size(content: bytes) -> tuple[int, int]:
    """Width and height of a JPEG XL image (ISO/IEC 18181-1, SizeHeader); 0 x 0 if there is no codestream."""
    start = 0 if content.startswith(JXL_CODESTREAM) else _jxl_codestream(content)
    bits = _Bits(content[start + 2 : start + 14])
    if content[start : start + 2] != JXL_CODESTREAM:
        return 0, 0
    small = bits.take(1)
    height = _jxl_side(bits, small)
    ratio = bits.take(3)
    if ratio == 0:
        return _jxl_side(bits, small), height
    numerator, denominator = JXL_RATIOS[ratio - 1]
    return height * numerator // denominator, height


def _jxl_codestream(content: bytes) -> int:
    """Where the codestream of a container starts (ISO/IEC 18181-2); the end if it has none."""
    place = 0
    while place + 8 <= len(content):
        length = int.from_bytes(content[place : place + 4])
        kind = content[place + 4 : place + 8]
        header = 8
        if length == 1:
            length = int.from_bytes(content[place + 8 : place + 16])
            header = 16
        if kind in (b"jxlc", b"jxlp"):
            return place + header + (4 if kind == b"jxlp" else 0)
        if length < header:
            break
        place += length
    return len(content)


def _jxl_side(bits: "_Bits", small: int) -> int:
    if small:
        return 8 * (bits.take(5) + 1)
    return bits.take(JXL_SIDE_BITS[bits.take(2)]) + 1


class _Bits:
    """Bits of a codestream, the lowest first."""

    def __init__(self, content: bytes) -> None:
        self._rest = int.from_bytes(content, "little")

    def take(self, count: int) -> int:
        """The next `count` bits as a number."""
        value = self._rest & ((1 << count) - 1)
        self._rest >>= count
        return value


def coefficient_pixels(image: Any, content: bytes) -> int:
    """What a JPEG file of several scans holds at its full size while it is decoded, counted in RGB pixels.

    Progressive files cannot be decoded at a fraction of their size alone: all coefficients wait for the last scan.
    image: as opened, before `draft`.
    """
    layers = cast(list[tuple[int, int, int, int]], image.layer)  # number, sampling across and down, table
    samplings = [layer[1] * layer[2] for layer in layers]
    if not samplings or ("progressive" not in image.info and _first_scan(content) == len(samplings)):
        return 0
    widest = max(layer[1] for layer in layers) * max(layer[2] for layer in layers)
    coefficients = int(image.width * image.height) * sum(samplings) // max(widest, 1)
    return coefficients * COEFFICIENT_BYTES // PIXEL_BYTES


def _first_scan(content: bytes) -> int:
    """How many components the first scan of a JPEG file holds; 0 if that cannot be told."""
    place = 2
    while place + 5 <= len(content) and content[place] == 0xFF:
        if content[place + 1] == START_OF_SCAN:
            return content[place + 4]
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
    return 0
