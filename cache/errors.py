"""The tree of errors that a user can cause or mend.

Each is one line: what, where, expected against found, remedy. Command lines print it and exit with code 2.
"""


class AugcacheError(Exception):
    """Something a user can mend; `str(error)` is one line."""

    def __init__(
        self, what: str, *, where: object = None, expected: object = None, found: object = None, remedy: str = ""
    ) -> None:
        line = what if where is None else f"{where}: {what}"
        if expected is not None:
            line += f"; expected {expected}"
        if found is not None:
            line += f"{',' if expected is not None else ';'} found {found}"
        if remedy:
            line += f". {remedy}"
        super().__init__(" ".join(line.split()))


class ParamsError(AugcacheError):
    """A value in params.yaml, a flag or an override is unknown, out of range or contradicts another."""


class InputError(AugcacheError):
    """Images, archives, labels or weights given by the user cannot be used as they are."""


class RecordError(AugcacheError):
    """Columns that do not belong together: lengths, labels, classes, shapes or types."""


class StorageError(AugcacheError):
    """The disk refused: full, read-only, or a file went away."""


class FileError(AugcacheError):
    """A cache file cannot be trusted."""


class ForeignFile(FileError):
    """Not a cache file, or one of another kind."""


class NewerFile(FileError):
    """Written by a newer format version than this code reads."""


class DamagedFile(FileError):
    """Truncated, or its bytes do not match their checksums."""
