"""Accuracy against time beside peers, on the same photos, split and weights, each in an environment of its own.

    python benchmarks/peers.py --photos cifar-10/train --per-class 50 --arch tf_efficientnetv2_b0 --weights FILE \\
        --size 128 --work peers [--peers timm_sklearn timm_finetune:2:5:15 fastai_finetune:1:4:10] [--seeds 3]

`--photos digits` takes scikit-learn's handwritten digits, written as PNGs of 64 px. A peer's numbers are its epochs.
Time runs from the start of the first process, with the folder of images, to predictions for every test image. Peers
are timm + scikit-learn, a plain loop with online augmentation, and fastai; each is run at several lengths, and every
length is a run of its own. Environments are installed before time is taken. AutoGluon is no peer: its pinned torch has
no matching torchvision in the registry, and it takes no weights from a file.
"""

import argparse
import csv
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from sklearn.datasets import load_digits
from stage_runs import ROOT, machine, write_json

SCRIPTS = ROOT / "benchmarks" / "peer_scripts"
INSTALLS = {
    "timm_sklearn": ["timm", "torchvision", "scikit-learn"],
    "timm_finetune": ["timm", "torchvision"],
    "fastai_finetune": ["fastai", "timm"],
}
PEERS = ["timm_sklearn", "timm_finetune:2:5:15", "fastai_finetune:1:4:10"]
DIGIT_SIDE = 64
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@dataclass(frozen=True)
class Case:
    """One split of the photos, the weights, and where everything lies.

    size: pixels that networks see. values: further ones of params.yaml, `section.key=value`. epochs: at which lengths
    ours is fine-tuned; None is the recipe's own.
    """

    folder: Path
    arch: str
    weights: Path
    size: int
    flip: bool
    values: tuple[str, ...] = ()
    epochs: tuple[int | None, ...] = (None,)

    @property
    def train(self) -> Path:
        return self.folder / "train"

    @property
    def test(self) -> Path:
        return self.folder / "test"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="one folder per class, or `digits`")
    parser.add_argument("--per-class", type=int, default=50)
    parser.add_argument("--test-per-class", type=int, default=100)
    parser.add_argument("--arch", default="tf_efficientnetv2_b0", help="timm's name of the network")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--set", nargs="*", default=[], help="section.key=value of params.yaml, for ours")
    parser.add_argument("--epochs", type=int, nargs="*", default=[], help="of ours, besides the recipe's own length")
    parser.add_argument("--no-flip", action="store_true", help="mirrored images are of another class")
    parser.add_argument("--peers", nargs="*", default=PEERS, help="name, or name:epochs:epochs")
    parser.add_argument("--work", type=Path, required=True, help="environments and runs")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("data/benchmarks/peers.json"))
    given = parser.parse_args()
    lengths = {name: [int(count) for count in counts] or [1] for name, *counts in (p.split(":") for p in given.peers)}
    pythons = {name: environment(given.work / "environments" / name, INSTALLS[name]) for name in lengths}
    photos = write_digits(given.work / "digits") if str(given.photos) == "digits" else given.photos
    points = []
    for seed in range(given.seeds):
        folder = given.work / f"seed-{seed}"
        case = Case(
            folder,
            given.arch,
            given.weights.absolute(),
            given.size,
            not given.no_flip,
            tuple(given.set),
            (*given.epochs, None),
        )
        split_photos(case, photos, given.per_class, given.test_per_class, seed)
        others = (peer(case, name, pythons[name], lengths[name]) for name in lengths)
        for point in itertools.chain(ours(case), *others):
            print(
                f"seed {seed}  {point['seconds']:7.1f} s  {100 * point['accuracy']:5.1f} %  {point['name']}", flush=True
            )
            points.append({**point, "seed": seed})
            values = {name: str(value) for name, value in vars(given).items()}
            write_json(given.out, {"machine": machine(), "options": values, "points": points})


def environment(folder: Path, packages: list[str]) -> Path:
    """The Python of an environment with these packages, made once."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        command = [str(Path(sys.executable).parent / "uv"), "pip", "install", "--quiet", "--system-certs", *packages]
        subprocess.run(command, check=True, env=os.environ | {"VIRTUAL_ENV": str(folder)})
        (folder / "ready").touch()
    return python


def write_digits(folder: Path) -> Path:
    """scikit-learn's 1,797 handwritten digits, enlarged from 8 pixels as the demo's are."""
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray((pixels * 255 / 16).astype("uint8"))
        image.resize((DIGIT_SIDE, DIGIT_SIDE), Image.Resampling.BICUBIC).convert("RGB").save(path)
    return folder


def split_photos(case: Case, photos: Path, train: int, test: int, seed: int) -> None:
    """Copy `train` and `test` images of each class, drawn at random, into two folders."""
    shutil.rmtree(case.folder, ignore_errors=True)
    for folder in sorted(path for path in photos.iterdir() if path.is_dir()):
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
        random.Random(f"{seed} {folder.name}").shuffle(files)
        for place, chosen in ((case.train, files[:train]), (case.test, files[train : train + test])):
            (place / folder.name).mkdir(parents=True)
            for path in chosen:
                shutil.copy(path, place / folder.name / path.name)


def ours(case: Case) -> Iterator[dict[str, Any]]:
    """The head, and the network fine-tuned at each length. All choices are made within the training images."""
    sets = {
        "prepare.source": case.train,
        "prepare.val": 0.1,
        "prepare.test": "none",
        "prepare.size": case.size,
        "augment.size": case.size,
        "featurize.backbone": f"timm:{case.arch}",
        "featurize.weights": case.weights,
        "featurize.size": case.size,
        "featurize.layers": "all",
        "train_model.recipe": "finetune",
    }
    values = [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    values += [] if not case.flip else ["--set", f"augment.policies={json.dumps(POLICIES)}"]
    values += [word for value in case.values for word in ("--set", value)]
    data = case.folder / "data"
    own = os.environ | {"AUGCACHE_STORE": str(case.folder / "store")}
    started = time.time()

    def stage(name: str, *more: str) -> str:
        command = [sys.executable, "-m", f"stages.{name}", *more, "--data", str(data), *values]
        return subprocess.run(command, cwd=ROOT, env=own, check=True, capture_output=True, text=True).stdout

    def predicted(name: str, classifier: str) -> dict[str, Any]:
        out = case.folder / f"{classifier}.csv"
        stage("predict", "--images", str(case.test), "--out", str(out), "--set", f"evaluate.classifier={classifier}")
        seconds = time.time() - started
        with out.open(encoding="utf-8", newline="") as file:
            right = [row["class"] == row["label"] for row in csv.DictReader(file)]
        return {"name": name, "seconds": seconds, "accuracy": sum(right) / len(right)}

    stage("run", "prepare", "augment", "featurize", "train_head")
    prepared = time.time() - started
    yield predicted("augcache, head", "train_head")
    for epochs in case.epochs:
        started = time.time() - prepared
        length = [] if epochs is None else ["--set", f"train_model.override={{schedule: [all x {epochs}]}}"]
        stage("train_model", *length)
        yield predicted("augcache, fine-tuned" + (f", {epochs} epochs" if length else ""), "train_model")


POLICIES = {
    "mild": [
        {"Fliplr": {"p": 0.5}},
        {"Affine": {"rotate": [-12, 12], "scale": [0.85, 1.15], "translate_percent": [-0.06, 0.06], "mode": "edge"}},
        {"MultiplyAndAddToBrightness": {"mul": [0.8, 1.2], "add": [-10, 10]}},
    ]
}


def peer(case: Case, name: str, python: Path, lengths: list[int]) -> Iterator[dict[str, Any]]:
    for epochs in lengths:
        out = case.folder / f"{name}-{epochs}.json"
        options = {
            **{field: str(getattr(case, field)) for field in ("train", "test", "weights")},
            **IMAGENET,
            "arch": case.arch,
            "size": case.size,
            "epochs": epochs,
            "flip": case.flip,
            "began": time.time(),
            "out": str(out),
        }
        file = case.folder / f"{name}-{epochs}-options.json"
        file.write_text(json.dumps(options), encoding="utf-8")
        subprocess.run([str(python), str(SCRIPTS / f"{name}.py"), str(file)], check=True, capture_output=True)
        yield json.loads(out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
