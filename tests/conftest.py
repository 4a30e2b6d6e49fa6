"""What many tests share: a tiny real folder of images, and a part store of each test's own."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from pipeline.config.params import read_params
from stages._cli import Job

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A part store that no other test, and no user, ever sees."""
    folder = tmp_path / "store"
    monkeypatch.setenv("AUGCACHE_STORE", str(folder))
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """On a busy machine threads that wait for each other take ten times as long as one alone."""
    import torch  # most tests need none of it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 160 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this platform does not let us mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def make_photos() -> Callable[..., Path]:
    """Write class folders of textured, coloured PNGs of 16 to 40 pixels: `make_photos(folder, classes, ...)`."""

    def make(
        folder: Path, classes: tuple[str, ...] = ("ant", "bee", "cow"), per_class: int = 10, seed: int = 0
    ) -> Path:
        random = np.random.default_rng(seed)
        for number, name in enumerate(classes):
            (folder / name).mkdir(parents=True)
            for index in range(per_class):
                Image.fromarray(textured(random, number)).save(folder / name / f"{name}_{index}.png")
        return folder

    return make


@pytest.fixture
def photos(tmp_path: Path, make_photos: Callable[..., Path]) -> Path:
    """`photos/<class>/*.png`: three classes of ten images."""
    return make_photos(tmp_path / "photos")


def textured(random: np.random.Generator, number: int) -> np.ndarray:
    """Noise over a gradient in the colour of the class: uint8 [h, w, 3]."""
    height, width = random.integers(16, 41, size=2)
    colour = np.roll([200, 90, 30], number)
    gradient = np.linspace(0.4, 1, width)[None, :, None] * colour
    return np.clip(gradient + random.normal(0, 20, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def make_job() -> Callable[..., Job]:
    """A stage's job with the project's own parameters: `make_job(stage, data, "section.key=value", ...)`."""

    def make(stage: str, data: Path, *overrides: str) -> Job:
        return Job(stage, read_params(ROOT / "params.yaml", list(overrides)), data, data / stage, quiet=True)

    return make


@pytest.fixture
def project(photos: Path, tmp_path: Path, make_job: Callable[..., Job]) -> list[str]:
    """The flags that name a small trained project: 30 photos of three classes, 6 of them test."""
    from stages import augment, featurize, prepare, train_head

    tiny = ("prepare.size=32", "prepare.val=none", "prepare.test=2", "augment.variants=[]", "featurize.size=32")
    backbone = ("featurize.backbone=efficientnet:0.25x0.2/2", "featurize.weights=random", "featurize.batch=16")
    chosen = (f"prepare.source={photos}", *tiny, *backbone, "train_head.schedule=[unaugmented x 8]")
    for name, stage in (
        ("prepare", prepare),
        ("augment", augment),
        ("featurize", featurize),
        ("train_head", train_head),
    ):
        (tmp_path / "data" / name).mkdir(parents=True)
        stage.run(make_job(name, tmp_path / "data", *chosen))
    return ["--data", str(tmp_path / "data"), *(part for override in chosen for part in ("--set", override))]


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium, as this machine has it."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


def pytest_configure() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and so would the commands that tests interrupt."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--kills N`: how often tests/faults/test_kill.py kills a stage, in all; `--fuzz N`: damaged files per format."""
    parser.addoption("--kills", type=int, default=20, help="SIGKILLs of stages at random moments")
    parser.addoption("--fuzz", type=int, default=30, help="damaged files of each kind that are decoded")
