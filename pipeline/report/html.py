"""Self-contained HTML pages: templates, style and script from pipeline/report/templates/, every value escaped."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from pipeline.report.charts import number

TEMPLATES = Path(__file__).with_name("templates")
UNKNOWN = "–"


def render_page(template: str, title: str, values: dict[str, Any]) -> str:
    """One page that fetches nothing. Its policy lets only the script run whose hash it names."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, count=count, points=points)
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    script = (TEMPLATES / "tables.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assets = {"style": _as_written(style), "script": _as_written(script), "script_hash": f"sha256-{digest}"}
    return environment.get_template(template).render(title=title, **assets, **values)


def _as_written(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - our own files


def percent(value: object) -> str:
    """Such as `71.9 %`."""
    share = number(value)
    return UNKNOWN if share is None else f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def count(value: object) -> str:
    """Such as `1,797`."""
    amount = number(value)
    return UNKNOWN if amount is None else f"{amount:,.0f}"


def points(value: object) -> str:
    """A difference of shares in percentage points, such as `+1.6`."""
    difference = number(value)
    return UNKNOWN if difference is None else f"{100 * difference:+.1f}".replace("-", "−")
