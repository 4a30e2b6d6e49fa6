"""What every command line shares: flags, help, the lock, progress, the summary, and errors as one line."""

import inspect
import json
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer
from filelock import FileLock, Timeout
from tqdm import tqdm

from cache.errors import AugcacheError, StorageError
from cache.records import UNAUGMENTED, FeatureSet, ImageSet
from pipeline.config.params import SECTIONS, Params, read_params
from pipeline.runtime.malloc import keep_freed_memory
from stages._runs import choose_classifier, make_record

DATA, PARAMS = Path("data"), Path("params.yaml")
LOCK_SECONDS = 1.0


@dataclass
class Job:
    """One run of one stage: its configuration, where it reads and writes, and what it has to say."""

    stage: str
    params: Params
    data: Path
    out: Path
    quiet: bool
    facts: dict[str, Any] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """Print a line above the summary."""
        typer.echo(f"{self.stage}: {text}")

    def has_made(self, stage: str) -> bool:
        """Whether an earlier stage has written any set."""
        return any((self.data / stage).glob("*.h5"))

    def sets(self, stage: str) -> dict[str, ImageSet]:
        """The image sets that a stage has made, by the names of their files; none where it has not run."""
        from cache.reader import read_images

        return {path.stem: read_images(path) for path in sorted((self.data / stage).glob("*.h5"))}

    def inputs(self, stage: str, pattern: str = "*.h5") -> dict[str, Path]:
        """The files that an earlier stage has made, by name. Raises StorageError where it has made none at all."""
        folder = self.data / stage
        if not self.has_made(stage):
            raise StorageError("there is nothing to read", where=folder, remedy=f"Run {stage}.")
        return {path.stem: path for path in sorted(folder.glob(pattern))}

    def features(self, split: str) -> dict[str, FeatureSet]:
        """The cached features of a split, by variant."""
        from cache.reader import read_features

        paths = self.inputs("featurize", f"{split}-*.h5")
        if paths:  # say so where the unaugmented one is missing
            paths.setdefault(f"{split}-{UNAUGMENTED}", self.data / "featurize" / f"{split}-{UNAUGMENTED}.h5")
        return {name.removeprefix(f"{split}-"): read_features(path) for name, path in paths.items()}

    def images(self, split: str) -> dict[str, ImageSet]:
        """The cached images of a split, by variant; none where the split is not there."""
        from cache.reader import read_images

        plain = {path for name, path in self.inputs("prepare").items() if name == split}
        drawn = [path for stage in ("augment", "gan") for path in (self.data / stage).glob(f"{split}-*.h5")]
        sets = [read_images(path) for path in [*plain, *sorted(drawn)]] if plain else []
        return {images.variant: images for images in sets}

    @property
    def classifier_folder(self) -> Path:
        """Where the classifier lies that is used: the better one on val, unless evaluate.classifier names one."""
        return self.data / choose_classifier(self.data, self.params.evaluate.classifier)

    def say(self, text: str) -> None:
        """A line on the terminal beside the summary."""
        typer.echo(f"{self.stage}: {text}")

    @contextmanager
    def progress(self, total: int, unit: str, label: str = "") -> Iterator[Callable[[int], object]]:
        """A progress bar with rate and time left; yields the function that advances it. Quiet off a terminal."""
        hidden = self.quiet or not sys.stderr.isatty()
        with tqdm(total=total, unit=unit, desc=label or self.stage, disable=hidden, leave=False) as bar:
            yield bar.update


Values = Annotated[Path, typer.Option(help="file of values")]
Overrides = Annotated[list[str] | None, typer.Option("--set", "-S", help="section.key=value, repeatable")]
Data = Annotated[Path, typer.Option(help="folder that holds one folder a stage")]
Quiet = Annotated[bool, typer.Option("--quiet", help="no progress bar")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]


def run_stage(
    stage: str, run: Callable[[Job], str], short: str = "", tune: Callable[[Job], Iterable[str]] | None = None
) -> None:
    """Parse the command line, run, print one line; a user's error is one line and exit code 2.

    short: a key of the stage's section that has a flag of its own. tune: what `--tune` prints instead of running.
    """
    app, meaning = make_app(), SECTIONS[stage].model_fields[short].description if short else ""
    shorthand = typer.Option(f"--{short or stage}", help=meaning)
    measure = typer.Option("--tune", help="write nothing; measure what is fastest here, and print what to set")

    def command(  # noqa: PLR0913, PLR0917 - a flag each
        params: Values = PARAMS,
        override: Overrides = None,
        data: Data = DATA,
        out: Annotated[Path | None, typer.Option(help=f"where to write, instead of data/{stage}")] = None,
        quiet: Quiet = False,
        debug: Debug = False,
        value: Annotated[str | None, shorthand] = None,
        tuning: Annotated[bool, measure] = False,
    ) -> None:
        with one_line_errors(stage, debug):
            chosen = [*(override or []), *([f"{stage}.{short}={value}"] if value and short else [])]
            place = data.absolute()  # also for workers that were started elsewhere
            out_folder = (out or place / stage).absolute()
            job = Job(stage, read_params(params, chosen), place, out_folder, quiet)
            if tune and tuning:
                for line in tune(job):
                    typer.echo(line)
            else:
                _run_locked(job, run)

    signature, absent = inspect.signature(command), {"value": not short, "tuning": not tune}
    kept = [one for name, one in signature.parameters.items() if not absent.get(name)]
    command.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    app.command(help=description(), epilog=_describe_section(stage))(command)
    app()


def make_app() -> typer.Typer:
    """A command line in the manner of the house."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def description() -> str:
    """What the module that is run says of itself."""
    return sys.modules["__main__"].__doc__ or ""


@contextmanager
def one_line_errors(command: str, debug: bool) -> Iterator[None]:
    """What a command runs in: a user's error is one line and exit code 2, SIGTERM and Ctrl-C are one line and 130."""
    signal.signal(signal.SIGTERM, _interrupt)
    keep_freed_memory()
    try:
        yield
    except AugcacheError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        typer.echo(f"{command}: interrupted; finished work is kept, run the same command to go on", err=True)
        raise typer.Exit(130) from error


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _run_locked(job: Job, run: Callable[[Job], str]) -> None:
    """Run under a lock on the output folder: DVC's orphaned stage and its rerun must not write at once."""
    from cache.files import remove_stale, storage_error
    from cache.parts import store_folder

    name = sha256(str(job.out.absolute()).encode()).hexdigest()[:32]
    path = store_folder() / "locks" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            typer.echo(f"{job.stage}: waiting for another run that writes {job.out}", err=True)
            lock.acquire()
        with lock:
            for folder in (job.out, job.data / "runs"):
                remove_stale(folder)
            started = time.perf_counter()
            summary = run(job)
            _record(job, summary, time.perf_counter() - started)
    except OSError as error:
        raise storage_error(Path(str(error.filename or path)), error) from error


def _record(job: Job, summary: str, seconds: float) -> None:
    """Print the summary and keep it beside the outputs, where it changes no output's bytes."""
    from cache.files import write_text

    typer.echo(f"{job.stage}: {summary} ({seconds:.1f} s)")
    if job.out != job.data / job.stage:
        return  # an experiment beside the run
    made_by = make_record(job.params.sections[job.stage], job.out)
    record = {"stage": job.stage, "summary": summary, "seconds": round(seconds, 2), **made_by, **job.facts}
    write_text(job.data / "runs" / f"{job.stage}.json", json.dumps(record, indent=2) + "\n")


def _describe_section(stage: str) -> str:
    """The section's keys and their meaning, for --help."""
    fields = SECTIONS[stage].model_fields
    width = max(map(len, fields)) + 2
    rows = [f"  {name:<{width}}{info.description}" for name, info in fields.items()]
    return "\b\n" + "\n".join([f"Section `{stage}` of params.yaml:", *rows])
