"""A workplace of tiny sets for whole stages, in this process or in children that start at once and can be killed."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cache import layout
from pipeline.config.params import read_params
from stages._cli import Job

PARAMS = Path(__file__).parents[2] / "params.yaml"
CLASSES = ("ant", "bee", "cow")
PHOTOS = {"train": 8, "val": 2, "test": 2}  # of each class
SETTINGS = (
    "prepare.size=32",
    "prepare.val=official",
    "prepare.test=official",
    "augment.variants=[spatial_1, color_1]",
    "augment.keep=pixels",
    "augment.size=32",
    "augment.workers=1",
    "augment.rows_per_task=8",
    "featurize.size=32",
    "featurize.device=cpu",
    "featurize.batch=16",
    "featurize.workers=1",
    "featurize.rows_per_task=8",
    "train_head.schedule=[unaugmented x 2, spatial_1 x 2, color_1 x 2]",
    "train_head.hidden=[32]",
    "pretrain.backbone=efficientnet:0.25x0.2/2",
    "pretrain.sizes=[16]",
    "pretrain.epochs=2",
    "pretrain.batch=4",
    "pretrain.device=cpu",
    "pretrain.checkpoint_seconds=0",
    "train_model.recipe=plain",
    "train_model.override={network: {name: resnetv2, widths: [16, 32], blocks: 1}, batch: 4, "
    "schedule: [unaugmented x 1, spatial_1 x 1]}",
    "train_model.device=cpu",
    "train_model.checkpoint_seconds=0",
    "gan.kind=conv",
    "gan.size=8",
    "gan.samples=4",
    "gan.device=cpu",
    "gan.checkpoint_seconds=0",
    "gan.conv.iterations=12",
    "gan.conv.width=4",
)


def photo(seed: int) -> np.ndarray:
    """Textured pixels, other ones for every seed: uint8 [24, 40, 3]."""
    random = np.random.default_rng(seed)
    rough = random.integers(0, 256, (6, 10, 3), dtype=np.uint8)
    return np.kron(rough, np.ones((4, 4, 1), np.uint8)) // 2 + random.integers(0, 128, (24, 40, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Place:
    """Photos, a data folder and a store of its own. part_rows: if sets of more than two such parts are to be large."""

    photos: Path
    data: Path
    store: Path
    settings: tuple[str, ...] = SETTINGS
    part_rows: int | None = None

    def overrides(self, *more: str) -> list[str]:
        return [f"prepare.source={self.photos}", *self.settings, *more]

    def arguments(self, stage: str, *more: str) -> list[str]:
        """What follows `python -m` for a stage."""
        sets = [part for override in self.overrides(*more) for part in ("--set", override)]
        return [f"stages.{stage}", "--params", str(PARAMS), "--data", str(self.data), *sets]

    def run(self, stage: str, *more: str) -> int:
        """Run a stage in this process; return how many rows it computed."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AUGCACHE_STORE", str(self.store))
            if self.part_rows:
                patch.setattr(layout, "PART_ROWS", dict.fromkeys(layout.PART_ROWS, self.part_rows))
                patch.setattr(layout, "LARGE_PARTS", 2)
            job = Job(stage, read_params(PARAMS, self.overrides(*more)), self.data, self.data / stage, quiet=True)
            importlib.import_module(f"stages.{stage}").run(job)
        return int(job.facts["rows"] - job.facts["cached"]) if "cached" in job.facts else 0

    def run_all(self, *more: str) -> tuple[int, int]:
        """prepare, augment and featurize; how many rows the latter two computed."""
        self.run("prepare", *more)
        return self.run("augment", *more), self.run("featurize", *more)

    def adopt(self, other: "Place", *stages: str, store: bool = False) -> None:
        """Take over what the stages made elsewhere, and on demand its store."""
        for stage in stages:
            shutil.copytree(other.data / stage, self.data / stage)
        if store:
            shutil.copytree(other.store, self.store)

    def computed(self, stage: str) -> int:
        """How many rows the last run from the command line computed, by its own record."""
        record = json.loads((self.data / "runs" / f"{stage}.json").read_text())
        return int(record["rows"] - record["cached"])

    def contents(self, *stages: str) -> dict[str, bytes]:
        """Every file that the stages made."""
        paths = [path for stage in stages for path in (self.data / stage).rglob("*") if path.is_file()]
        return {path.relative_to(self.data).as_posix(): path.read_bytes() for path in paths}

    def elsewhere(self, folder: Path) -> "Place":
        """The same photos and settings, an empty data folder and an empty store."""
        return replace(self, data=folder / "data", store=folder / "store")


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """36 photos of three classes in an official split, and what an undisturbed run makes of them."""
    home = tmp_path_factory.mktemp("reference")
    seed = 0
    for split, count in PHOTOS.items():
        for name in CLASSES:
            folder = home / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(photo(seed)).save(folder / f"{number}.png")
                seed += 1
    finished = Place(home / "photos", home / "data", home / "store")
    finished.run_all()
    for stage in ("train_head", "pretrain", "train_model", "gan"):
        finished.run(stage)
    return finished


@pytest.fixture
def place(tmp_path: Path, store: Path, reference: Place) -> Place:
    """The same photos; nothing made of them yet."""
    shutil.copytree(reference.photos, tmp_path / "photos")
    return Place(tmp_path / "photos", tmp_path / "data", store)


# A process that has imported everything and computed nothing, so that its children start within milliseconds.
SERVER = """
import json, os, runpy, signal, sys
import torch, torch._dynamo, torch.optim, efficientnet_pytorch, pydantic, typer, h5py, filelock, distributed
import torchvision, timm
import pipeline.config.params, pipeline.augmentation.imgaug_engine, stages._cli
pipeline.augmentation.imgaug_engine.import_imgaug()
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if not child:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (1, 2):
            os.dup2(os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        os.environ["AUGCACHE_STORE"] = order["store"]
        if order["part_rows"]:
            import cache.layout
            cache.layout.PART_ROWS = dict.fromkeys(cache.layout.PART_ROWS, order["part_rows"])
            cache.layout.LARGE_PARTS = 2
        sys.argv = order["arguments"]
        try:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        except SystemExit as stop:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(stop.code or 0)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass
class Child:
    """A stage that runs in a process of its own."""

    server: "subprocess.Popen[str]"
    process: int
    output: Path
    started: float = field(default_factory=time.perf_counter)

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.kill(self.process, number)

    def wait(self) -> int:
        """Its exit code, or the signal that ended it as a negative number."""
        assert self.server.stdout is not None
        return int(self.server.stdout.readline())

    @property
    def text(self) -> str:
        return self.output.read_text()


@pytest.fixture(scope="session")
def server() -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PARAMS.parent
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def start(server: "subprocess.Popen[str]", tmp_path: Path) -> Callable[..., Child]:
    """Run `python -m stages.<stage>` for a place in a child: `start(place, stage, *overrides)`."""

    def begin(place: Place, stage: str, *more: str) -> Child:
        output = tmp_path / "output.txt"
        output.unlink(missing_ok=True)
        order: dict[str, Any] = {"arguments": place.arguments(stage, *more), "store": str(place.store)}
        order["part_rows"] = place.part_rows
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(order | {"output": str(output)}) + "\n")
        server.stdin.flush()
        return Child(server, int(server.stdout.readline()), output)

    return begin
