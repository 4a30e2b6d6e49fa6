"""What start does, step by step: look, choose, estimate, write."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pipeline.config.edit import edit_params, read_mapping, read_value
from pipeline.config.params import STAGES, Params, parse_params, read_text, split_override
from pipeline.config.train_model import OFF
from stages._cli import Job
from stages._params_file import change_params, next_command

if TYPE_CHECKING:
    from pipeline.estimate.look import Look
    from pipeline.estimate.wishes import Choice, Wishes

ARCHIVE_FROM = 20_000  # files from which DVC takes long over a folder
LIMIT = "prepare.limit_per_class"


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

    @property
    def text(self) -> str:
        """Of the old params.yaml. Raises ParamsError."""
        return read_text(self.params)

    @property
    def overrides(self) -> dict[str, Any]:
        """The values of --set by `section.key`. Raises ParamsError."""
        return {path: parsed(text) for path, text in map(split_override, self.override)}

    def parse(self, changes: Mapping[str, Any]) -> Params:
        """The parameters as they would be. Raises ParamsError."""
        return parse_params(edit_params(self.text, changes), self.params)


def look_around(starting: Starting, wishes: "Wishes") -> "Look":
    """Look at the images and print what they are."""
    from pipeline.estimate.look import MOST, look_at
    from pipeline.estimate.new_values import source_of, values_to_look

    params = starting.parse(values_to_look(source_of(starting.photos), wishes, starting.overrides))
    job = Job("start", params, starting.data, starting.data, starting.quiet)
    with job.progress(MOST, "image", "look") as advance:
        look = look_at(params.prepare, advance)
    for line in look.lines():
        typer.echo(f"  {line}")
    if look.images > ARCHIVE_FROM and Path(starting.photos).is_dir():
        typer.echo("  so many files: DVC is faster with one archive of them, such as a .tar, than with a folder")
    return look


def decide(starting: Starting, look: "Look", wishes: "Wishes") -> "list[Choice]":
    """All choices; a preset's in place of those that start would make."""
    from pipeline.estimate.at_hand import this_machine
    from pipeline.estimate.choices import choose
    from pipeline.estimate.findings import read_findings
    from pipeline.estimate.new_values import source_of, with_source

    source = source_of(starting.photos)
    machine = this_machine(read_value(starting.text, "featurize.weights_folder"))
    limit = {LIMIT: starting.overrides.get(LIMIT)}
    wishes = replace(wishes, limit=starting.parse(limit).prepare.limit_per_class)
    choices = choose(look, wishes, machine, read_findings(starting.data, source["prepare.source"]))
    return with_source(starting.text, source, choices, starting.preset)


def values_of(starting: Starting, choices: "list[Choice]") -> dict[str, Any]:
    """What is written, by `section.key`; --set has the last word."""
    from pipeline.estimate.new_values import changes_of

    return changes_of(choices) | starting.overrides


def estimated(starting: Starting, choices: "list[Choice]", wishes: "Wishes", dry_run: bool) -> "list[Choice]":
    """Print what the run would take; leave out fine-tuning that was not asked for if it would take too long."""
    from pipeline.estimate.choices import without_finetuning
    from stages._estimates import keep_estimates, print_estimates

    params = starting.parse(values_of(starting, choices))
    data = starting.data.absolute()
    by_stage, _ = print_estimates(params, Job("start", params, data, data, starting.quiet), set(STAGES))
    seconds = sum(by_stage.values())
    if not dry_run:
        keep_estimates(data, by_stage)
    is_ours = wishes.finetune is None and starting.preset is None
    if not is_ours or params.train_model.recipe == OFF or seconds <= 60 * starting.minutes:
        return choices
    dropped = without_finetuning(seconds / 60, starting.minutes)
    typer.echo(f"  {dropped}")
    return [*choices, dropped]


def write(starting: Starting, choices: "list[Choice]") -> None:
    """Write params.yaml."""
    changes = values_of(starting, choices)
    starting.parse(changes)  # refused before anything is written
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
        starting.parse(values_of(starting, choices))
        typer.echo("start: nothing was written (--dry-run)")
        return
    write(starting, choices)
    if then:
        typer.echo(f"start: now run   {next_command(starting.params)}")
