"""Tell images by their first bytes, for files whose names do not say what they are."""

import re

HEAD = 32  # bytes that are looked at
MAGIC = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM.{4}\0{4}",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WebP": rb"RIFF.{4}WEBP",
    "HEIF or AVIF": rb".{4}ftyp(?:heic|heix|hevc|hevx|heim|heis|mif1|msf1|avif|avis)",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xffO\xffQ",
    "Photoshop": rb"8BPS\0[\x01\x02]",
    "camera raw": rb"FUJIFILMCCD-RAW|IIU\0|IIR[OS]|.{4}ftypcrx ",
    "Netpbm": rb"P[1-6]\s+(?:#|\d+\s)",
    "icon": rb"\x00\x00\x01\x00[^\x00]\x00|icns",
    "QOI": rb"qoif",
    "DDS": rb"DDS \x7c\0\0\0",
    "Sun raster": rb"\x59\xa6\x6a\x95",
}
# The endings of the formats that people rename files to or from without converting them.
ENDINGS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".heic", ".heif", ".hif", ".avif"), "HEIF or AVIF"),
    **dict.fromkeys((".jp2", ".j2k", ".jpx", ".j2c", ".jpc", ".jpf"), "JPEG 2000"),
    ".gif": "GIF",
    ".bmp": "BMP",
    ".webp": "WebP",
    ".jxl": "JPEG XL",
    ".psd": "Photoshop",
}
PATTERNS = {name: re.compile(pattern, re.DOTALL) for name, pattern in MAGIC.items()}


def image_format(content: bytes) -> str:
    """The image format that a file's first bytes are of; empty if of none."""
    head = content[:HEAD]
    return next((name for name, pattern in PATTERNS.items() if pattern.match(head)), "")
