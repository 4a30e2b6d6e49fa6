import io

import numpy as np
import pytest
from pictures import FILES, FORMATS, packed, textured
from PIL import Image

from pipeline.ingest.archive import Unreadable
from pipeline.ingest.decode import DecodeOptions, decode
from pipeline.ingest.image_formats import DECODED, EXTENSIONS, RAW
from pipeline.ingest.image_size import coefficient_pixels, jxl_size

TOO_MANY = r"has {} x {} pixels, more than .* raise prepare.max_megapixels"
needs_jxl = pytest.mark.skipif("JXL" not in Image.OPEN, reason="its decoder is an extra")


def test_every_ending_of_a_format_that_is_read_counts_as_an_image() -> None:
    endings = {ending for ending, name in Image.registered_extensions().items() if name in (*FORMATS, "MPO")}
    assert endings <= DECODED <= EXTENSIONS
    assert {".heic", ".hif", ".jxl", ".mpo", ".j2k", ".jpx", ".j2c", ".jpc", ".nef", ".cr2"} <= EXTENSIONS
    assert not RAW & DECODED


def test_no_format_that_starts_a_program_is_read() -> None:
    assert not {"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5"} & set(FORMATS)
    for content in (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\xd7\xcd\xc6\x9a" + bytes(40)):
        with pytest.raises(Unreadable, match="is no image"):
            decode(content, 16, name="drawing.png")


@pytest.mark.parametrize(("kind", "name"), [("heic", "HEIF"), ("jxl", "JXL")])
def test_a_missing_decoder_is_named_with_its_extra(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"heic": b"\0\0\0\x18ftypheic" + bytes(40), "jxl": b"\xff\x0a" + bytes(40)}[kind]
    monkeypatch.delitem(Image.OPEN, name, raising=False)
    with pytest.raises(Unreadable, match=r'decoder is not installed. Install the extra: pip install -e "\.\[photos\]"'):
        decode(content, 16)


def test_a_phone_photo_of_108_megapixels_is_read() -> None:
    content = packed(Image.new("L", (12_000, 9_000), 90), "JPEG")
    assert decode(content, 64)[32, 32].tolist() == [90, 90, 90]
    with pytest.raises(Unreadable, match=TOO_MANY.format(12_000, 9_000)):
        decode(content, 64, DecodeOptions(max_megapixels=1.6))  # an eighth of each side is 1.7


@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "webp", "tiff", "ppm", "tga", "jp2", "ico", "qoi", "pcx"])
def test_the_limit_holds_for_every_format_before_pixels_are_loaded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = FILES[kind]()
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
    if kind != "ico":  # whose size is known when its largest image has been loaded
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    with pytest.raises(Unreadable, match=TOO_MANY.format(width, height)):
        decode(content, 16, DecodeOptions(max_megapixels=width * height / 1e6 - 1e-4))


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp"])
def test_the_limit_may_lie_above_pillows_own(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(FILES[kind]()))
    assert decode(FILES[kind](), 16).shape == (16, 16, 3)


def test_a_progressive_jpeg_is_counted_at_its_full_size() -> None:
    small = packed(textured(64, 64), "JPEG", progressive=True, subsampling=0)
    frame = small.index(b"\xff\xc2") + 5
    bomb = small[:frame] + (60_000).to_bytes(2) * 2 + small[frame + 4 :]
    with pytest.raises(Unreadable, match=TOO_MANY.format(60_000, 60_000)):
        decode(bomb, 512)


@pytest.mark.parametrize(("subsampling", "share"), [(0, 1.5), (2, 0.75)])
def test_what_waits_for_the_last_scan_is_counted_exactly(subsampling: int, share: float) -> None:
    """Two bytes per coefficient, of 3 or 1.5 per pixel, in pixels of four bytes."""
    progressive = packed(textured(64, 64), "JPEG", progressive=True, subsampling=subsampling)
    baseline = packed(textured(64, 64), "JPEG", subsampling=subsampling)
    scan = baseline.index(b"\xff\xda")
    several_scans = baseline[: scan + 4] + b"\1" + baseline[scan + 5 :]
    for content, expected in ((progressive, share * 64 * 64), (baseline, 0), (several_scans, share * 64 * 64)):
        with Image.open(io.BytesIO(content)) as image:
            assert coefficient_pixels(image, content) == expected


@needs_jxl
@pytest.mark.parametrize("size", [(8, 8), (64, 48), (300, 200), (1_000, 10), (512, 256), (192, 108), (77, 2_000)])
def test_the_size_of_a_jpeg_xl_is_read_before_it_is_decoded(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size)
    for options in ({}, {"use_container": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}):
        content = packed(image, "JXL", **options)
        assert jxl_size(content) == size
        with pytest.raises(Unreadable, match=TOO_MANY.format(*size)):
            decode(content, 16, DecodeOptions(max_megapixels=size[0] * size[1] / 1e6 - 1e-5))


def test_a_jpeg_xl_that_is_cut_off_has_no_size_to_refuse() -> None:
    for content in (b"", b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n", b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 9):
        assert jxl_size(content) in ((0, 0), (1, 1), (512, 1))


@pytest.mark.skipif("HEIF" not in Image.OPEN, reason="its decoder is an extra")
def test_heic_is_decoded_from_its_own_pixels_and_not_from_a_thumbnail() -> None:
    image = textured(256, 256)
    content = packed(image, "HEIF", thumbnails=[64], quality=95)
    row = decode(content, 32)
    expected = np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS))
    assert np.abs(row.astype(int) - expected).mean() < 4
