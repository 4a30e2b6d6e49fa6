"""What earlier runs left: the parameters that each stage ran with (data/runs/<stage>.json), and trained classifiers."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cache.errors import DamagedFile, ParamsError
from pipeline.config.shared.section import Section, parse
from pipeline.metrics.best_epoch import val_rank

FOLDER = "runs"
BEST = "best"  # of evaluate.classifier: the one with the highest accuracy on val
CLASSIFIERS = ("train_model", "train_head")  # stages that train one; the first is preferred if val cannot tell
HEAD_BYTES = 1 << 16  # of each file; headers of our own files hold the checksums of all that follows


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


class HasSections(Protocol):
    """`Params`, which this module does not import, so that no stage depends on the sections of all others."""

    @property
    def sections(self) -> dict[str, Section]: ...


P = TypeVar("P", bound=HasSections)


def params_used(data: Path, params: P) -> P:
    """The parameters that the outputs below `data` were made with, as far as each stage recorded them.

    A section stays as it is in `params` if its stage left no record, or if its outputs are no longer those of the
    record: then DVC has restored them, which it does only for the parameters of the moment.
    """
    sections: dict[str, Any] = {}
    for name, section in params.sections.items():
        sections[name] = _recorded(data, name, section) or section
    make_params: Any = type(params)
    return make_params(**sections)  # type: ignore[no-any-return]


def _recorded(data: Path, stage: str, section: Section) -> Section | None:
    try:
        record = json.loads((data / FOLDER / f"{stage}.json").read_text(encoding="utf-8"))
        if not isinstance(record, Mapping) or record.get("outputs") != fingerprint(data / stage):
            return None
        return parse(type(section), record.get("params"), stage)
    except (FileNotFoundError, ValueError, ParamsError):
        return None


def choose_classifier(data: Path, wanted: str) -> str:
    """The stage whose classifier is evaluated first and used by predict and export.

    wanted: `evaluate.classifier`; `best` is the one with the higher accuracy on val, and among equals the one with the
    lower loss. Without any val split it is the full model if there is one.
    """
    if wanted != BEST:
        return wanted
    figures = trained_classifiers(data)
    return max(figures, key=lambda stage: _rank(figures[stage]), default=CLASSIFIERS[-1])


def trained_classifiers(data: Path) -> dict[str, dict[str, Any]]:
    """The metrics of each stage that has trained a classifier; a full model that is off has none."""
    figures = {stage: _metrics(data / stage) for stage in CLASSIFIERS}
    return {stage: metrics for stage, metrics in figures.items() if metrics is not None}


def _metrics(folder: Path) -> dict[str, Any] | None:
    if not (folder / "classifier.json").exists():
        return None
    path = folder / "metrics.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"best_epoch": None}
    except ValueError as error:
        raise DamagedFile("not JSON", where=path, remedy=f"Run {folder.name} again.") from error
    return metrics or None  # train_model writes {} when it is off; the classifier is then one of an earlier run


def _rank(metrics: Mapping[str, Any]) -> tuple[float, float]:
    """Those of a training without a val split come before all others."""
    return val_rank(float(metrics.get("val_accuracy", -1)), float(metrics.get("val_loss", 0)))
