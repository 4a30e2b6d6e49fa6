"""Write docs/reference/<command>.md from each command's own help and parameters: python docs/make_reference.py."""

import importlib
import json
from pathlib import Path

import yaml
from typer.main import get_command

from pipeline.config.params import SECTIONS, STAGES

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
COMMANDS = sorted(path.stem for path in (ROOT / "stages").glob("[a-z]*.py"))


def page(name: str) -> str:
    """One command's page."""
    module = importlib.import_module(f"stages.{name}")
    first, *rest = (module.__doc__ or "").replace("\b\n", "").rstrip().splitlines()
    kind = "A stage of dvc.yaml" if name in STAGES else "A command, no stage of dvc.yaml"
    common = "`--params FILE`, `--set section.key=value`, `--data FOLDER`, `--out FOLDER`, `--quiet`, `--debug`"
    lines = [f"# {name}", "", first, "", *fenced(rest), f"{kind}: `python -m stages.{name}`.", ""]
    if name in SECTIONS:
        lines += [f"Flags: {common}.", "", f"## Section `{name}` of params.yaml", "", *parameters(name), ""]
    if hasattr(module, "app"):
        lines += ["## Flags", "", *flags(module.app), ""]
    return "\n".join(lines).rstrip() + "\n"


def fenced(lines: list[str]) -> list[str]:
    """Lines as plain text."""
    text = "\n".join(lines).strip("\n")
    return ["```text", text, "```", ""] if text else []


def parameters(name: str) -> list[str]:
    """A table of a section's keys."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))[name]
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for key, field in SECTIONS[name].model_fields.items():
        shown = json.dumps(values[key], ensure_ascii=False)
        shown = "see params.yaml" if len(shown) > 100 else f"`{shown}`"
        rows.append(f"| `{key}` | {shown} | {(field.description or '').replace('|', '/')} |")
    return rows


def flags(app: object) -> list[str]:
    """A table of a command line's flags."""
    command = get_command(app)  # type: ignore[arg-type]
    commands = getattr(command, "commands", None) or {"": command}
    rows = ["| flag | meaning |", "|---|---|"]
    for name, entry in commands.items():
        for flag in entry.params:
            shown = f"{name} {flag.opts[0]}".strip()
            rows.append(f"| `{shown}` | {getattr(flag, 'help', None) or ''} |")
    return rows


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for command in COMMANDS:
        (FOLDER / f"{command}.md").write_text(page(command), encoding="utf-8")
