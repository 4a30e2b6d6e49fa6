"""The image formats that are read, the endings that count as images, and how a file is opened.

Read are the raster formats that people keep pictures in: JPEG (MPO too), PNG, GIF, BMP, WebP, TIFF, PBM to PFM,
JPEG 2000, AVIF, ICO, ICNS, PCX, SGI, QOI, XBM, XPM, PSD (flattened), DDS, Sun raster and TGA; HEIC and JPEG XL with
the extra `photos`. Left out of Pillow's formats: EPS, which starts Ghostscript; WMF, which only Windows can draw;
BUFR, GRIB, HDF5 and MPEG, which Pillow names but cannot decode; FITS, SPIDER and McIdas, which hold measurements;
and those that no photo is kept in and hardly anybody looks after (BLP, CUR, DCX, FLI, FTEX, GBR, IM, MSP, PCD, ...).
"""

import importlib
import io
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePosixPath

from PIL import Image

from pipeline.ingest.archive import Unreadable
from pipeline.ingest.image_size import JXL_SIGNATURES, coefficient_pixels, jxl_size

# In the order in which they are tried. TGA has no signature, so it comes last.
FORMATS = (
    *("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF", "JXL"),
    *("ICO", "ICNS", "PCX", "SGI", "QOI", "XBM", "XPM", "PSD", "DDS", "SUN", "TGA"),
)
DECODED = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib"}
    | {".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif", ".avifs"}
    | {".jp2", ".j2k", ".jpx", ".j2c", ".jpc", ".jpf", ".heic", ".heif", ".hif", ".heics", ".heifs", ".jxl"}
    | {".ico", ".icns", ".pcx", ".sgi", ".rgb", ".rgba", ".bw", ".qoi", ".xbm", ".xpm", ".psd", ".dds", ".ras"}
    | {".tga", ".icb", ".vda", ".vst"}
)
# A raw file is often a TIFF whose first image is a small thumbnail, so it is refused by its ending.
RAW = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc", ".mef"}
    | {".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
UNDECODED = frozenset({".jxr", ".wdp", ".hdp", ".exr", ".psb", ".bpg", ".cur"})
EXTENSIONS = DECODED | RAW | UNDECODED  # everything that counts as an image
# What a decoder raises on a file of another format, as Image.open has it.
OTHER_FORMAT = (SyntaxError, IndexError, TypeError, struct.error)
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
EXTRA = 'Install the extra: pip install -e ".[photos]"'
CONVERT = "Save it as JPEG, PNG or TIFF."


def _register_plugins() -> None:
    """Register every decoder now: Pillow does it on demand, which is not safe in threads."""
    Image.init()
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener(thumbnails=False)
    with suppress(ImportError):
        importlib.import_module("pillow_jxl")


_register_plugins()


def refuse_ending(name: str) -> None:
    """Raise Unreadable if a file's ending names a format that is never decoded."""
    ending = PurePosixPath(name).suffix.lower().strip()
    if ending in RAW:
        raise Unreadable(f"is a raw camera file ({ending}), which is not developed here", remedy=CONVERT)
    if ending in UNDECODED:
        raise Unreadable(f"is of a format that is not read ({ending})", remedy=CONVERT)


def open_image(content: bytes, side: int, megapixels: float) -> Image.Image:
    """Open an image, JPEGs at a fraction of their size that is at least `side`; pixels are not loaded yet.

    Unlike Image.open, which refuses 179 megapixels, it counts the pixels that will be decoded, and its limit can be
    raised; the decoders of TIFF, WebP, GIF and icons keep Pillow's limit all the same. Raises Unreadable if the file is
    no image or too large, and whatever decoders raise on damaged headers.
    """
    if content.startswith(JXL_SIGNATURES):  # its decoder decodes everything when it opens a file
        check_pixels(jxl_size(content), megapixels)
    image = _identify(content)
    full_size = image.size
    waiting = 0
    if image.format in ("JPEG", "MPO"):
        waiting = coefficient_pixels(image, content)
        image.draft(None, (side, side))
    check_pixels(full_size, megapixels, image.width * image.height + waiting)
    return image


def _identify(content: bytes) -> Image.Image:
    """The image, opened by the first decoder that knows its signature, as Image.open does it."""
    reason = ""
    for factory, accept in (Image.OPEN[name] for name in FORMATS if name in Image.OPEN):
        if not _accepts(accept, content):
            continue
        try:
            return factory(io.BytesIO(content), "")
        except OTHER_FORMAT as error:
            reason = str(error) if accept else reason
    _name_extra(content)
    if reason:
        raise Unreadable(f"cannot be decoded: {reason}")
    raise Unreadable("is no image, or of a format that is not read")


def _accepts(accept: Callable[[bytes], bool | str] | None, content: bytes) -> bool:
    if accept is None:
        return True
    try:
        result = accept(content[:16])
        return bool(result) and not isinstance(result, str)  # a string says why a decoder is missing
    except OTHER_FORMAT:
        return False


def _name_extra(content: bytes) -> None:
    """Raise Unreadable with the remedy if the file's decoder is not installed."""
    if content[4:8] == b"ftyp" and content[8:12] in HEIF_BRANDS and "HEIF" not in Image.OPEN:
        raise Unreadable("is a HEIC image, whose decoder is not installed", remedy=EXTRA)
    if content.startswith(JXL_SIGNATURES) and "JXL" not in Image.OPEN:
        raise Unreadable("is a JPEG XL image, whose decoder is not installed", remedy=EXTRA)


def check_pixels(size: tuple[int, int], megapixels: float, decoded: int | None = None) -> None:
    """Raise Unreadable if an image of this width and height decodes to more pixels than the limit."""
    width, height = size
    limit = int(megapixels * 1_000_000)
    if (width * height if decoded is None else decoded) > limit:
        remedy = "Make it smaller, or raise prepare.max_megapixels."
        raise Unreadable(f"has {width} x {height} pixels, more than {limit:,}", remedy=remedy)
