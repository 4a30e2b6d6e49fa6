"""One run of one stage: what it reads and writes, its lock, its progress, its record."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import typer
from filelock import FileLock, Timeout
from tqdm import tqdm

from cache.errors import StorageError
from cache.records import UNAUGMENTED, FeatureSet, ImageSet
from pipeline.config.params import Params
from pipeline.inference.choose import choose_classifier
from pipeline.runtime.progress import Watch
from pipeline.runtime.progress_file import ProgressFile, progress_path
from pipeline.runtime.run_record import make_record, record_path
from pipeline.runtime.threads import usable_threads

LOCK_SECONDS = 1.0


@dataclass
class Job:
    """One run of one stage: its configuration, what it reads and writes, and what it reports.

    file: where params come from.
    """

    stage: str
    params: Params
    data: Path
    out: Path
    quiet: bool
    file: Path = Path("params.yaml")
    facts: dict[str, Any] = field(default_factory=dict)
    progress_file: ProgressFile | None = None  # that `python -m stages.watch` reads
    _prepared: dict[str, ImageSet] = field(default_factory=dict, repr=False)  # that variants are drawn from, by split

    def say(self, text: str) -> None:
        """Print a line on the terminal before the summary, such as what was left out; a progress bar stays whole."""
        tqdm.write(f"{self.stage}: {text}")

    def has_made(self, stage: str) -> bool:
        """Whether an earlier stage has written any set."""
        return any((self.data / stage).glob("*.h5"))

    def sets(self, stage: str) -> dict[str, ImageSet]:
        """The image sets that a stage has made, by the names of their files; none if it has not run."""
        return {path.stem: self.read_images(path) for path in sorted((self.data / stage).glob("*.h5"))}

    def read_images(self, path: Path) -> ImageSet:
        """The images of a file below the data folder; those of a variant without pixels are drawn when they are read.

        What draws them is no dependency of the stage in dvc.yaml: the file is, and it names code and libraries.
        """
        from cache.reader import read_images, read_set
        from cache.records import Variant

        read = read_images if path.parent.name == "prepare" else read_set
        images = read(path)
        if not isinstance(images, Variant):
            return images
        from pipeline.augmentation.drawn import draw_lazily

        split = path.stem.removesuffix(f"-{images.variant}")
        if split not in self._prepared:
            self._prepared[split] = read_images(self.data / "prepare" / f"{split}.h5")
        return draw_lazily(images, self._prepared[split])

    def inputs(self, stage: str, pattern: str = "*.h5") -> dict[str, Path]:
        """The files that an earlier stage has made, by name. Raises StorageError if it has made none."""
        folder = self.data / stage
        if not self.has_made(stage):
            raise StorageError("there is nothing to read", where=folder, remedy=f"Run {stage}.")
        return {path.stem: path for path in sorted(folder.glob(pattern))}

    def features(self, split: str) -> dict[str, FeatureSet]:
        """The cached features of a split, by variant."""
        from cache.reader import read_features

        paths = self.inputs("featurize", f"{split}-*.h5")
        if paths:  # say so if the unaugmented one is missing
            paths.setdefault(f"{split}-{UNAUGMENTED}", self.data / "featurize" / f"{split}-{UNAUGMENTED}.h5")
        return {name.removeprefix(f"{split}-"): read_features(path) for name, path in paths.items()}

    def images(self, split: str) -> dict[str, ImageSet]:
        """The cached images of a split, by variant; none if the split is not there."""
        plain = {path for name, path in self.inputs("prepare").items() if name == split}
        drawn = [path for stage in ("augment", "gan") for path in (self.data / stage).glob(f"{split}-*.h5")]
        sets = [self.read_images(path) for path in [*plain, *sorted(drawn)]] if plain else []
        return {images.variant: images for images in sets}

    @property
    def classifier_folder(self) -> Path:
        """The classifier that is used: the better one on val, unless evaluate.classifier names one."""
        return self.data / choose_classifier(self.data, self.params.evaluate.classifier)

    @contextmanager
    def progress(self, total: int, unit: str, label: str = "") -> Iterator[Callable[[int], object]]:
        """A progress bar with rate and time left, quiet without a terminal; yields the function that advances it."""
        hidden = self.quiet or not sys.stderr.isatty()
        file = self.progress_file
        with tqdm(total=total, unit=unit, desc=label or self.stage, disable=hidden, leave=False) as bar:
            if file is None:
                yield bar.update
                return

            def advance(count: int) -> None:
                bar.update(count)
                file.advance(count)

            file.begin(label, unit, total)
            yield advance

    @contextmanager
    def watch(self, total: int, unit: str) -> Iterator[Watch]:
        """`progress` for a training, whose curves are shown as well."""
        with self.progress(total, unit) as advance:
            yield Watch(advance, self.log)

    def log(self, curve: Mapping[str, Any]) -> None:
        """Show a row of a training's curves to whoever watches."""
        if self.progress_file is not None:
            self.progress_file.log(curve)


def run_locked(job: Job, run: Callable[[Job], str]) -> None:
    """Run under a lock on the output folder: DVC's orphaned stage and its rerun must not write at once."""
    from cache.files import remove_stale, storage_error

    path = lock_path(job.out)
    try:
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
            with _reporting(job):
                summary = run(job)
                _record(job, summary, time.perf_counter() - started)
    except OSError as error:
        raise storage_error(Path(str(error.filename or path)), error) from error


def lock_path(out: Path) -> Path:
    """The lock of an output folder, in the store; in the system's temporary folder if the store is read-only."""
    from cache.parts import store_folder

    name = sha256(str(out.absolute()).encode()).hexdigest()[:32]
    folder = store_folder() / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        folder = Path(tempfile.gettempdir()) / "augcache-locks"
        folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.lock"


@contextmanager
def _reporting(job: Job) -> Iterator[None]:
    """Keep a file of how far the job is, unless it is an experiment beside the run."""
    if job.out != job.data / job.stage:
        yield
        return
    with ProgressFile(progress_path(job.data, job.stage), job.stage) as job.progress_file:
        yield


def _record(job: Job, summary: str, seconds: float) -> None:
    """Print the summary and keep it beside the outputs, apart from them, so that it changes no output's bytes."""
    from cache.files import write_text

    typer.echo(f"{job.stage}: {summary} ({seconds:.1f} s)")
    if job.out != job.data / job.stage:
        return  # an experiment beside the run
    made_by = make_record(job.params.sections[job.stage], job.out)
    took = {"seconds": round(seconds, 2), "threads": usable_threads()}  # the bits of heads and models hold for these
    record = {"stage": job.stage, "summary": summary, **took, **made_by, **job.facts}
    write_text(record_path(job.data, job.stage), json.dumps(record, indent=2) + "\n")
