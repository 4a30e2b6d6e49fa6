"""What earlier runs left of themselves: the parameters that each stage ran with (data/runs/<stage>.json)."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from cache.errors import ParamsError
from pipeline.config.params import Params
from pipeline.config.shared.section import Section, parse

FOLDER = "runs"  # below the data folder
ESTIMATES = "estimate"  # the record of what start expects: seconds by stage
HEAD_BYTES = 1 << 16  # of each file; headers of our own files hold the checksums of all that follows


def record_path(data: Path, stage: str) -> Path:
    """Where the last run of a stage is recorded."""
    return data / FOLDER / f"{stage}.json"


def read_record(data: Path, stage: str) -> dict[str, Any]:
    """What a stage recorded of its last run; empty if there is no record that can be read."""
    try:
        record = json.loads(record_path(data, stage).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def make_record(section: Section, folder: Path) -> dict[str, Any]:
    """What a stage records beside its summary: its section as used, size and fingerprint of its outputs."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {"bytes": size, "params": section.model_dump(mode="json"), "outputs": fingerprint(folder)}


def fingerprint(folder: Path) -> str:
    """SHA-256 over the name, size and first 64 KiB of each file: quick however large the files are."""
    digest = sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        name = path.relative_to(folder).as_posix()
        digest.update(json.dumps([name, path.stat().st_size, sha256(head).hexdigest()]).encode())
    return digest.hexdigest()


def params_used(data: Path, params: Params) -> Params:
    """The parameters that the outputs below `data` were made with, as far as each stage recorded them.

    A section stays as it is in `params` if its stage left no record, or if its outputs are no longer those of the
    record: then DVC has restored them, which it does only for the parameters of the moment.
    """
    recorded = {name: _recorded(data, name, section) for name, section in params.sections.items()}
    changes: dict[str, Any] = {name: section for name, section in recorded.items() if section}
    return replace(params, **changes)


def _recorded(data: Path, stage: str, section: Section) -> Section | None:
    record = read_record(data, stage)
    if not record or record.get("outputs") != fingerprint(data / stage):
        return None
    try:
        return parse(type(section), record.get("params"), stage)
    except ParamsError:
        return None
