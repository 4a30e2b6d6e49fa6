"""Images as Python programs hold them, brought to the stored size as prepare does it."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from cache.errors import RecordError
from cache.layout import Array
from pipeline.ingest.archive import Unreadable
from pipeline.ingest.decode import DecodeOptions, decode, squared

AnyImage = Array | Image.Image | str | Path
AnyImages = Array | Image.Image | str | Path | Sequence[AnyImage]
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")  # TIFF holds the others


def as_list(images: AnyImages) -> Sequence[AnyImage]:
    """The images one by one: a single one becomes a list of one."""
    if isinstance(images, str | Path | Image.Image):
        return [images]
    if isinstance(images, np.ndarray):
        return [images] if images.ndim == 3 and images.shape[2] == 3 else list(images)
    return images


def to_square(image: AnyImage, size: int, fit: str = "crop") -> Array:
    """uint8 [size, size, 3] of uint8 RGB [h, w, 3], a PIL image of any mode, or the path of an image file.

    fit: how it becomes square, as prepare.fit has it.

    Raises RecordError for anything else, Unreadable for a file that is no image.
    """
    if isinstance(image, str | Path):
        return _decode_file(Path(image), size, DecodeOptions(fit=fit))
    if isinstance(image, Image.Image):
        return decode(_encoded(image), size, DecodeOptions(fit=fit))
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,) or not image.size:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise RecordError("image has the wrong form", expected="uint8 [h, w, 3], a PIL image or a path", found=what)
    return squared(image, size, fit)


def _decode_file(path: Path, size: int, options: DecodeOptions) -> Array:
    try:
        return decode(path.expanduser().read_bytes(), size, options)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}", where=path) from error
    except Unreadable as error:
        raise Unreadable(str(error), where=path) from error


def _encoded(image: Image.Image) -> bytes:
    """A lossless file of the image, so that every mode is read by the same rules as files are."""
    upright = ImageOps.exif_transpose(image)
    target = io.BytesIO()
    if upright.mode in PNG_MODES:
        upright.save(target, "PNG", compress_level=0)
    else:
        upright.save(target, "TIFF")
    return target.getvalue()
