"""Writing params.yaml: never without a copy of the old one."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.errors import ParamsError
from cache.files import write_text
from pipeline.config.edit import edit_params


def read_text(path: Path) -> str:
    """The text of a file of values. Raises ParamsError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ParamsError("no such file", where=path, remedy="Run from the clone, or give --params.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"cannot be read: {error}", where=path) from error


def change_params(path: Path, changes: Mapping[str, Any]) -> str:
    """Write the changes, by `section.key`, and keep a copy beside the file; return what was done, for the terminal."""
    text = read_text(path)
    edited = edit_params(text, changes)
    if edited == text:
        return f"{path} says all of this already"
    copy = free_name(path.with_name(f"{path.name}.bak"))
    shutil.copyfile(path, copy)
    write_text(path, edited)
    return f"wrote {path}; the old one is {copy}"


def free_name(path: Path) -> Path:
    """The path itself if nothing is there, else with the first number that is free: `params.yaml.bak.2`."""
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free
