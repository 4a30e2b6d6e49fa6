"""A file for the HDF5 library to write into, which does not fail while the library holds it."""

import io
import os
from typing import Any


class SteadyFile(io.FileIO):
    """A file that never fails while HDF5 holds it, because HDF5 crashes the process where closing fails.

    The first error (a full disk, Ctrl-C) is kept, what follows is dropped, and `check` raises it.
    """

    error: BaseException | None = None

    def write(self, content: Any) -> int:
        """Write all of it, unless something has failed before."""
        try:
            left = memoryview(content).cast("B")
            while len(left) and self.error is None and not self.closed:
                left = left[super().write(left) :]
        except (OSError, KeyboardInterrupt) as error:
            self.error = error
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        """Set the length, unless something has failed before."""
        try:
            return 0 if self.closed or self.error is not None else super().truncate(size)
        except (OSError, KeyboardInterrupt) as error:
            self.error = error
        return 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go there, unless HDF5 asks too late: it tries again where a close was interrupted."""
        return 0 if self.closed else super().seek(offset, whence)

    def flush(self) -> None:
        """Nothing is buffered."""

    def check(self) -> None:
        """Raise what has failed."""
        if self.error is not None:
            raise self.error
