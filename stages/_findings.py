"""What search found, kept in its record for start: data/runs/search.json."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.params import Params
from pipeline.runtime.run_record import FOLDER, params_used

if TYPE_CHECKING:
    from pipeline.estimate.variants import SearchFindings
    from pipeline.heads.policy_search import PolicyChoice

KEY = "findings"
RECORD = "search.json"


def facts_of(choice: "PolicyChoice", variants: list[str], data: Path, params: Params) -> dict[str, Any]:
    """What the record says besides: the source that was prepared, and what paid on it."""
    findings = {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "variants": variants,
        "policies": choice.policies,
        "gain": choice.best.gain,
        "error": choice.best.error,
    }
    prepared = params_used(data, params).prepare.model_dump(mode="json")
    return {"source": prepared["source"], KEY: findings}


def read_findings(data: Path, source: str) -> "SearchFindings | None":
    """What search found on this source; None if it has not run on it, or before it kept such a record."""
    from pydantic import TypeAdapter

    from pipeline.estimate.variants import SearchFindings

    try:
        record = json.loads((data / FOLDER / RECORD).read_text(encoding="utf-8"))
        if not isinstance(record, Mapping) or Path(record["source"]).absolute() != Path(source).absolute():
            return None
        return TypeAdapter(SearchFindings).validate_python(record[KEY])
    except (FileNotFoundError, KeyError, ValueError):
        return None
