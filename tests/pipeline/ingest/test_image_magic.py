import io

import numpy as np
import pytest
from PIL import Image, features

from pipeline.ingest.image_magic import image_format

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("JPEG", "JPEG"),
        ("PNG", "PNG"),
        ("GIF", "GIF"),
        ("BMP", "BMP"),
        ("TIFF", "TIFF"),
        ("WEBP", "WebP"),
        ("PPM", "Netpbm"),
        ("JPEG2000", "JPEG 2000"),
        ("AVIF", "HEIF or AVIF"),
        ("ICO", "icon"),
        ("ICNS", "icon"),
        ("QOI", "QOI"),
        ("DDS", "DDS"),
    ],
)
def test_what_pillow_writes_is_told_by_its_first_bytes(kind: str, name: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    target = io.BytesIO()
    Image.fromarray(PIXELS).save(target, kind)
    assert image_format(target.getvalue()) == name


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\xff\x0a\x00", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIF or AVIF"),
        (b"8BPS\0\x01", "Photoshop"),
        (b"FUJIFILMCCD-RAW 0201", "camera raw"),
    ],
)
def test_formats_that_are_not_decoded_are_told_too(content: bytes, name: str) -> None:
    assert image_format(content) == name


@pytest.mark.parametrize(
    "content", [b"", b"BMW is a car, and no bitmap at all", b"P is a letter", b"PK\x03\x04", b"%PDF-1.4", b"{}"]
)
def test_other_files_are_no_images(content: bytes) -> None:
    assert image_format(content) == ""
