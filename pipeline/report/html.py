"""Self-contained HTML pages: templates, style and script from pipeline/report/templates/, every value escaped."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from pipeline.report.charts import number

TEMPLATES = Path(__file__).with_name("templates")


def render_page(template: str, title: str, values: dict[str, Any]) -> str:
    """One page that fetches nothing. Its policy lets no script run but the one whose hash it names."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=percent, count=count, points=points)
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "tables.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template(template)
    marked = {"style": _as_written(style), "script": _as_written(script), "script_hash": f"sha256-{digest}"}
    return page.render(title=title, **marked, **values)


def _as_written(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - our own files


def percent(value: object) -> str:
    """Such as `71.9 %`."""
    found = number(value)
    return "–" if found is None else f"{100 * found:.1f}\N{NO-BREAK SPACE}%"


def count(value: object) -> str:
    """Such as `1,797`."""
    found = number(value)
    return "–" if found is None else f"{found:,.0f}"


def points(value: object) -> str:
    """A difference of shares in percentage points, such as `+1.6`."""
    found = number(value)
    return "–" if found is None else f"{100 * found:+.1f}".replace("-", "−")
