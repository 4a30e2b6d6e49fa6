"""What start does, step by step: look, choose, estimate, write."""

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cache.errors import ParamsError
from pipeline.config.edit import edit_params, read_mapping, read_value
from pipeline.config.params import Params, read_params
from pipeline.config.presets import read_preset
from pipeline.ingest.label_tables import TABLES
from stages._cli import Job
from stages._findings import read_findings
from stages._params_file import change_params, read_text

if TYPE_CHECKING:
    from pipeline.estimate.look import Look
    from pipeline.estimate.wishes import Choice, Wishes

ARCHIVE_FROM = 20_000  # files from which DVC takes long over a folder
FINE_TUNING = "finetune"  # the recipe


@dataclass(frozen=True)
class Starting:
    """What the command line says besides the wishes. minutes: for all stages, above which fine-tuning is left out."""

    photos: str
    params: Path
    data: Path
    preset: str | None
    override: list[str]
    minutes: float
    estimate: bool
    quiet: bool

    def read(self, changes: Mapping[str, Any]) -> Params:
        """The parameters as they would be. Raises ParamsError."""
        with _changed(self.params, changes) as path:
            return read_params(path)


@contextmanager
def _changed(params: Path, changes: Mapping[str, Any]) -> Iterator[Path]:
    """A changed copy of params.yaml for a moment."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / params.name
        path.write_text(edit_params(read_text(params), changes), encoding="utf-8")
        yield path


def overrides_of(starting: Starting) -> dict[str, Any]:
    """The values of --set by `section.key`. Raises ParamsError."""
    values = {}
    for override in starting.override:
        path, equals, text = override.partition("=")
        if not equals or "." not in path:
            raise ParamsError("override is not section.key=value", where="--set", found=repr(override))
        values[path.strip()] = parsed(text)
    return values


def look_around(starting: Starting, wishes: "Wishes") -> "Look":
    """Look at the images and print what they are."""
    from pipeline.estimate.look import MOST, look_at

    asked = {"prepare.fit": wishes.fit} if wishes.fit else {}
    fresh = {"prepare.val": "none", "prepare.test": "none", "prepare.limit_per_class": None, "prepare.imbalance": None}
    params = starting.read(source_of(starting.photos) | fresh | asked | _layout_of(overrides_of(starting)))
    job = Job("start", params, starting.data, starting.data, starting.quiet)
    with job.progress(MOST, "image", "look") as advance:
        look = look_at(params.prepare, advance)
    for line in look.lines():
        typer.echo(f"  {line}")
    if look.images > ARCHIVE_FROM and Path(starting.photos).is_dir():
        typer.echo("  so many files: DVC is faster with one archive of them, such as a .tar, than with a folder")
    return look


def _layout_of(overrides: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("prepare.layout", "prepare.labels", "prepare.max_megapixels", "prepare.bit_depth")
    return {key: value for key, value in overrides.items() if key in keys}


def source_of(photos: str) -> dict[str, str]:
    """As params.yaml names it: relative to this folder if it lies inside. A table of labels stands for its folder."""
    if photos == "digits":
        return {"prepare.source": "pipeline/digits.txt", "prepare.labels": "auto"}
    path = Path(os.path.abspath(os.path.expanduser(photos)))
    labels = "auto"
    if path.suffix.lower() in TABLES and path.is_file():
        labels = path.name
        path = path.parent
    inside = os.path.relpath(path)
    return {"prepare.source": str(path) if inside.startswith("..") else inside, "prepare.labels": labels}


def decide(starting: Starting, look: "Look", wishes: "Wishes") -> "list[Choice]":
    """All choices; a preset's in place of those that start would make."""
    from pipeline.estimate.at_hand import this_machine
    from pipeline.estimate.choices import choose
    from pipeline.estimate.wishes import Choice

    folder = read_value(read_text(starting.params), "featurize.weights_folder")
    source = source_of(starting.photos)
    findings = read_findings(starting.data, source["prepare.source"])
    choices = choose(look, wishes, this_machine(folder), findings)
    title = {"report.title": Path(source["prepare.source"]).name.partition(".")[0] or "augcache"}
    kept = _kept(starting, source)
    first = Choice("source", source["prepare.source"], "as you say", source | title | kept)
    relabel = read_value(read_text(starting.params), "prepare.relabel")
    if relabel and not kept:
        choices = [Choice("corrections", "kept", f"labels are as {relabel} corrects them"), *choices]
    if starting.preset is None:
        return [first, *choices]
    preset = read_preset(starting.preset)
    given = [choice for choice in choices if choice.reason.startswith("as you say") or choice.subject == "unreadable"]
    named = [Choice(key, str(value), "as the preset says", {key: value}) for key, value in preset.changes.items()]
    return [first, Choice("preset", starting.preset, preset.about), *named, *given]


def _kept(starting: Starting, source: Mapping[str, str]) -> dict[str, Any]:
    """What was about another source goes."""
    text = read_text(starting.params)
    if read_value(text, "prepare.source") == source["prepare.source"]:
        return {}
    return {"prepare.limit_per_class": None, "prepare.imbalance": None, "prepare.relabel": None}


def changes_of(choices: "list[Choice]") -> dict[str, Any]:
    """All values together, later choices before earlier ones."""
    return {key: value for choice in choices for key, value in choice.changes.items()}


def estimated(starting: Starting, choices: "list[Choice]", wishes: "Wishes", dry_run: bool) -> "list[Choice]":
    """Print what the run would take; leave out fine-tuning that was not asked for if it would take too long."""
    from pipeline.config.params import STAGES
    from pipeline.estimate.choices import without_finetuning
    from stages._estimates import keep_estimates, print_estimates

    changes = changes_of(choices) | overrides_of(starting)
    params = starting.read(changes)
    data = starting.data.absolute()
    by_stage, _ = print_estimates(params, Job("start", params, data, data, starting.quiet), set(STAGES))
    seconds = sum(by_stage.values())
    if not dry_run:
        keep_estimates(data, by_stage)
    is_ours = wishes.finetune is None and starting.preset is None
    if not is_ours or params.train_model.recipe != FINE_TUNING or seconds <= 60 * starting.minutes:
        return choices
    dropped = without_finetuning(seconds / 60, starting.minutes)
    typer.echo(f"  {dropped}")
    return [*choices, dropped]


def next_command(params: Path) -> str:
    """What runs the pipeline. DVC starts `python`, which must be this one, so its folder is named if it is not."""
    own = Path(sys.executable).parent
    here = shutil.which("python")
    is_own = here is not None and Path(here).parent == own and shutil.which("dvc") is not None
    command = "dvc repro" if is_own else f"PATH={shlex.quote(os.path.relpath(own))}:$PATH dvc repro"
    return command if params == Path("params.yaml") else f"{command}   # with {params} as params.yaml"


def write(starting: Starting, choices: "list[Choice]") -> None:
    """Write params.yaml."""
    changes = changes_of(choices) | overrides_of(starting)
    starting.read(changes)  # refused before anything is written
    typer.echo(f"start: {change_params(starting.params, changes)}")


def names(variants: str | None) -> tuple[str, ...] | None:
    """Of a comma-separated list; an empty one names none."""
    return None if variants is None else tuple(filter(None, variants.split(",")))


def parsed(text: str | None) -> Any:
    """A flag's value as YAML has it: `0.2`, `10`, `official`."""
    return None if text is None else read_mapping(f"value: {text}")["value"]


def start(starting: Starting, wishes: "Wishes", dry_run: bool, then: bool) -> None:
    """Look, choose, estimate, write. then: say what to run."""
    typer.echo(f"start: looking at {starting.photos}")
    look = look_around(starting, wishes)
    choices = decide(starting, look, wishes)
    typer.echo("start: chosen, each by a flag of the same name or by --set")
    for choice in choices:
        typer.echo(f"  {choice}")
    if starting.estimate:
        typer.echo("start: what it will take")
        choices = estimated(starting, choices, wishes, dry_run)
    if dry_run:
        starting.read(changes_of(choices) | overrides_of(starting))
        typer.echo("start: nothing was written (--dry-run)")
        return
    write(starting, choices)
    if then:
        typer.echo(f"start: now run   {next_command(starting.params)}")
