"""Small image files of every format that is read, and ICC profiles, made here."""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from pipeline.ingest import image_formats

FORMATS = image_formats.FORMATS  # and the import has registered the decoders of HEIC and JPEG XL, if installed

# Primaries x, y of red, green and blue, as the standards give them; white is D65.
SRGB_PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
P3_PRIMARIES = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE_PRIMARIES = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
D65 = (0.3127, 0.3290)
WHITE_XYZ = np.array([D65[0] / D65[1], 1, (1 - sum(D65)) / D65[1]])
D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def packed(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def textured(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    """Coloured waves under noise, so that a decoder has something to do."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin((x * (1 + band) + y) / 7) * 90 + 128 for band in range(3)]
    noise = random.normal(0, 12, (height, width, 3))
    return Image.fromarray(np.clip(np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8))


def png_file(width: int, height: int, bits: int, colour_type: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of raw rows, each with its filter byte; chunks: name and content, before the pixels."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    parts = [header, *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    framed = [
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def profile(primaries: Any, curve: float | tuple[float, ...], name: str = "made for a test") -> bytes:
    """An ICC v4 display profile. primaries: x, y of red, green, blue; None for grey. curve: a gamma, or g a b c d."""
    values = (curve,) if isinstance(curve, float) else curve
    kind = 0 if len(values) == 1 else 3
    trc = b"para" + bytes(4) + struct.pack(">HH", kind, 0) + b"".join(_s15(value) for value in values)
    text = name.encode("utf-16-be")
    described = b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text
    tags = {b"desc": described, b"cprt": described, b"wtpt": _xyz(D50)}
    if primaries is None:
        tags[b"kTRC"] = trc
    else:
        for column, tag in zip(_to_d50(primaries).T, (b"r", b"g", b"b"), strict=True):
            tags[tag + b"XYZ"] = _xyz(column)
            tags[tag + b"TRC"] = trc
    table = struct.pack(">I", len(tags))
    body = b""
    start = 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    space = b"GRAY" if primaries is None else b"RGB "
    header = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x04300000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + b"".join(_s15(value) for value in D50)
    return header.ljust(128, b"\0") + table + body


def _s15(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: Any) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(_s15(value) for value in values)


def xyz_columns(primaries: Any) -> np.ndarray:
    """Columns: XYZ of each primary, at the strength at which all three make D65."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    return columns * np.linalg.solve(columns, WHITE_XYZ)


def _to_d50(primaries: Any) -> np.ndarray:
    """The same, adapted from D65 to D50 (Bradford)."""
    cones = (BRADFORD @ D50) / (BRADFORD @ WHITE_XYZ)
    return np.linalg.inv(BRADFORD) @ np.diag(cones) @ BRADFORD @ xyz_columns(primaries)


DISPLAY_P3 = profile(P3_PRIMARIES, SRGB_CURVE, "Display P3")
ADOBE_RGB = profile(ADOBE_PRIMARIES, 2.19921875, "Adobe RGB (1998)")


def _frames(kind: str, **options: Any) -> bytes:
    return packed(textured(), kind, save_all=True, append_images=[textured(seed=1), textured(seed=2)], **options)


def _grey16() -> Image.Image:
    return Image.fromarray(np.asarray(textured().convert("L")).astype(np.uint16) * 257)


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    return exif


def _psd() -> bytes:
    """No resources, no layers, raw planes."""
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 16, 16, 8, 3)
    planes = np.moveaxis(np.asarray(textured(16, 16)), 2, 0).tobytes()
    return header + struct.pack(">III", 0, 0, 0) + struct.pack(">H", 0) + planes


def _icns() -> bytes:
    """One image of 128 pixels."""
    png = packed(textured(128, 128))
    return struct.pack(">4sI4sI", b"icns", 16 + len(png), b"ic07", 8 + len(png)) + png


def _sun() -> bytes:
    header = struct.pack(">8I", 0x59A66A95, 16, 16, 24, 768, 1, 0, 0)
    return header + bytes(value % 256 for value in range(768))


XPM = b"""/* XPM */
static char *image[] = {
"4 4 2 1",
"a c #ff0000",
"b c #00ff00",
"abab",
"baba",
"abab",
"baba"
};
"""
FILES: Mapping[str, Callable[[], bytes]] = {
    "jpeg": lambda: packed(textured(200, 160), "JPEG", exif=_exif()),
    "jpeg progressive": lambda: packed(textured(200, 160), "JPEG", progressive=True),
    "jpeg grey": lambda: packed(textured().convert("L"), "JPEG"),
    "jpeg cmyk": lambda: packed(textured().convert("CMYK"), "JPEG"),
    "jpeg with profile": lambda: packed(textured(), "JPEG", icc_profile=DISPLAY_P3),
    "mpo": lambda: _frames("MPO"),
    "png": lambda: packed(textured()),
    "png grey 16": lambda: packed(_grey16()),
    "png palette": lambda: packed(textured().quantize(32), transparency=3),
    "png alpha, exif, profile": lambda: packed(textured().convert("RGBA"), exif=_exif(), icc_profile=ADOBE_RGB),
    "apng": lambda: _frames("PNG"),
    "gif": lambda: packed(textured().quantize(32), "GIF"),
    "gif animated": lambda: _frames("GIF"),
    "bmp": lambda: packed(textured(), "BMP"),
    "dib": lambda: packed(textured(), "DIB"),
    "webp": lambda: packed(textured(), "WEBP"),
    "webp lossless": lambda: packed(textured().convert("RGBA"), "WEBP", lossless=True),
    "webp animated": lambda: _frames("WEBP"),
    "tiff": lambda: packed(textured(), "TIFF"),
    "tiff deflate": lambda: packed(textured(), "TIFF", compression="tiff_adobe_deflate"),
    "tiff lzw": lambda: packed(textured(), "TIFF", compression="tiff_lzw"),
    "tiff jpeg": lambda: packed(textured(), "TIFF", compression="jpeg"),
    "tiff fax": lambda: packed(textured().convert("1"), "TIFF", compression="group4"),
    "tiff grey 16": lambda: packed(_grey16(), "TIFF"),
    "tiff frames": lambda: _frames("TIFF"),
    "ppm": lambda: packed(textured(), "PPM"),
    "ppm plain": lambda: b"P3 8 8 255\n" + b" ".join(b"%d" % (value * 7 % 256) for value in range(192)) + b"\n",
    "pgm 12 bits": lambda: b"P5 16 16 4095\n" + (np.arange(256) * 16).astype(">u2").tobytes(),
    "pfm": lambda: b"Pf\n16 16\n-1.0\n" + (np.arange(256) / 255).astype("<f4").tobytes(),
    "tga": lambda: packed(textured(), "TGA"),
    "tga packed": lambda: packed(textured(), "TGA", compression="tga_rle"),
    "jp2": lambda: packed(textured(), "JPEG2000"),
    "j2k": lambda: packed(textured(), "JPEG2000", no_jp2=True),
    "avif": lambda: packed(textured(), "AVIF"),
    "heic": lambda: packed(textured(), "HEIF"),
    "jxl": lambda: packed(textured(), "JXL"),
    "ico": lambda: packed(textured(64, 64), "ICO", sizes=[(32, 32), (64, 64)]),
    "ico bitmap": lambda: packed(textured(32, 32), "ICO", sizes=[(32, 32)], bitmap_format="bmp"),
    "icns": _icns,
    "pcx": lambda: packed(textured(), "PCX"),
    "sgi": lambda: packed(textured(), "SGI"),
    "qoi": lambda: packed(textured(), "QOI"),
    "xbm": lambda: packed(textured().convert("1"), "XBM"),
    "xpm": lambda: XPM,
    "psd": _psd,
    "dds": lambda: packed(textured().convert("RGBA"), "DDS"),
    "dds bc1": lambda: packed(textured().convert("RGBA"), "DDS", pixel_format="DXT1"),
    "sun": _sun,
}
UNDER_EXTRA = {"heic": "HEIF", "jxl": "JXL"}
