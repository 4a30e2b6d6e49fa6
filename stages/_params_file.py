"""Writing params.yaml, never without a copy of the old one, and what to run then."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.files import write_text
from pipeline.config.edit import edit_params
from pipeline.config.params import read_text


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


def next_command(params: Path) -> str:
    """What runs the pipeline. DVC starts `python`, which must be this one, so its folder is named if it is not."""
    own = Path(sys.executable).parent
    here = shutil.which("python")
    is_own = here is not None and Path(here).parent == own and shutil.which("dvc") is not None
    command = "dvc repro" if is_own else f"PATH={shlex.quote(os.path.relpath(own))}:$PATH dvc repro"
    return command if params == Path("params.yaml") else f"{command}   # with {params} as params.yaml"
