"""Checksums of PNG pixels, which Pillow leaves out: it takes whatever still unpacks for the image."""

import zlib

from pipeline.ingest.archive import Unreadable

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HOLDERS = ("PNG", "ICO", "ICNS")  # formats whose pixels are PNG files, or may be


def check_pixel_checksums(content: bytes) -> None:
    """Raise Unreadable if a pixel chunk of any PNG in the file does not match its CRC, as libpng would refuse it.

    Other chunks do not count: a damaged text or EXIF costs no pixel.
    """
    start = content.find(SIGNATURE)
    while start >= 0:
        place = start + len(SIGNATURE)
        while place + 12 <= len(content):
            length = int.from_bytes(content[place : place + 4])
            name = content[place + 4 : place + 8]
            end = place + 8 + length
            if name == b"IDAT" and zlib.crc32(content[place + 4 : end]).to_bytes(4) != content[end : end + 4]:
                raise Unreadable("cannot be decoded: the checksum of its pixels does not match")
            if name == b"IEND":
                break
            place = end + 4
        start = content.find(SIGNATURE, start + 1)
