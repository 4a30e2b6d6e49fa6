"""gan: off by default without torch; else samples, grids and losses, which featurize and the schedule take."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from models import coloured

from cache.errors import ParamsError
from cache.reader import read_features, read_images
from cache.writer import write_images
from stages import featurize, gan, train_head

MakeJob = Callable[..., "gan.Job"]
ROOT = Path(__file__).resolve().parents[2]
TINY = (
    *("gan.kind=wgan", "gan.size=8", "gan.samples=6", "gan.wgan.iterations=4", "gan.wgan.hidden=[8]"),
    *("gan.wgan.critic_hidden=[8]", "augment.variants=[]", "prepare.size=32", "featurize.size=32"),
    *("featurize.backbone=efficientnet:0.25x0.2/2", "featurize.weights=random", "featurize.batch=16"),
    *("train_head.schedule=[unaugmented x 1, gan_1 x 1]", "train_head.hidden=[8]", "train_head.lr=0.01"),
    "train_head.weight_decay=0.01",
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, split in enumerate(("train", "val")):
        write_images(tmp_path / "data" / "prepare" / f"{split}.h5", coloured(30, number, size=32))
    return tmp_path / "data"


def test_off_it_writes_an_empty_index_and_imports_no_torch(data: Path) -> None:
    flags = ["--data", str(data), "--out", str(data / "gan")]
    code = "import sys, runpy; sys.argv = ['gan', *sys.argv[1:]]; import stages.gan; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *flags], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "False\n"
    done = subprocess.run(
        [sys.executable, "-m", "stages.gan", *flags], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.startswith("gan: off (gan.kind is none)")
    assert (data / "gan" / "gan.json").read_text(encoding="utf-8") == "{}\n"


def test_samples_are_featurized_and_trained_on(data: Path, make_job: MakeJob) -> None:
    summary = gan.run(make_job("gan", data, *TINY))
    assert summary == "18 samples of 3 classes by wgan"
    samples = read_images(data / "gan" / "train-gan_1.h5")
    index = json.loads((data / "gan" / "gan.json").read_text(encoding="utf-8"))
    assert {name: figures["samples"] for name, figures in index["classes"].items()} == dict.fromkeys(samples.classes, 6)
    with (data / "gan" / "losses.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["class"], row["iteration"]) for row in rows[:5]] == [
        *(("red", str(at)) for at in range(1, 5)),
        ("green", "1"),
    ]
    assert len(list((data / "gan").glob("class-*.png"))) == 3
    (data / "featurize").mkdir()
    featurize.run(make_job("featurize", data, *TINY))
    features = read_features(data / "featurize" / "train-gan_1.h5")
    assert features.ids.tolist() == samples.ids.tolist()
    assert "2 of 2" in train_head.run(make_job("train_head", data, *TINY))


def test_switched_off_again_the_samples_are_gone(data: Path, make_job: MakeJob) -> None:
    gan.run(make_job("gan", data, *TINY))
    gan.run(make_job("gan", data))
    assert not list((data / "gan").glob("*.h5"))


def test_a_schedule_may_name_samples_only_where_they_are_made(data: Path, make_job: MakeJob) -> None:
    with pytest.raises(ParamsError, match=r"train_head\.schedule.*found 'gan_1'"):
        make_job("prepare", data, *TINY, "gan.kind=none")
