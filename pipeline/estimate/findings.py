"""What search found, kept in its record for start."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline.config.prepare import PrepareConfig
from pipeline.config.shared.stages import SEARCH
from pipeline.heads.policy_search import PolicyChoice
from pipeline.runtime.run_record import read_record

KEY = "findings"


@dataclass(frozen=True)
class SearchFindings:
    """What `python -m stages.search` found on the same source.

    date: such as 2026-11-27. variants: those that paid, none if no policy did. policies: their steps. gain, error: by
    how much they lowered the cross entropy of unseen images, and its standard error.
    """

    date: str
    variants: tuple[str, ...]
    policies: Mapping[str, Any]
    gain: float
    error: float


def facts_of(choice: PolicyChoice, variants: Sequence[str], prepared: PrepareConfig) -> dict[str, Any]:
    """What the record says besides: the source that was prepared, and what paid on it."""
    today = datetime.now(tz=UTC).date().isoformat()
    findings = SearchFindings(today, tuple(variants), choice.policies, choice.best.gain, choice.best.error)
    return {"source": prepared.model_dump(mode="json")["source"], KEY: asdict(findings)}


def read_findings(data: Path, source: str) -> SearchFindings | None:
    """What search found on this source; None if it has not run on it, or before it kept such a record."""
    record = read_record(data, SEARCH)
    if Path(record.get("source", "")).absolute() != Path(source).absolute():
        return None
    try:
        return TypeAdapter(SearchFindings).validate_python(record.get(KEY))
    except ValidationError:
        return None
