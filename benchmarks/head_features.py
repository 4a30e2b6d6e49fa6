"""Cached features for `head_table.py`: each data set once through prepare and augment, then through each backbone."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from stage_runs import ROOT

TURN = "{rotate: [-12, 12], scale: [0.85, 1.15], translate_percent: [-0.08, 0.08]}"
MILD = "{rotate: [-8, 8], scale: [0.9, 1.15], translate_percent: [-0.06, 0.06]}"
BRIGHT = "MultiplyAndAddToBrightness: {mul: [0.8, 1.2], add: [-10, 10]}"
POLICIES = (
    "train_head.schedule=[unaugmented x 1]",
    f"augment.policies.turn=[Affine: {TURN}]",
    "augment.policies.flip=[Fliplr: {p: 1.0}]",
    f"augment.policies.mild=[Fliplr: {{p: 0.5}}, Affine: {MILD}, {BRIGHT}]",
)


@dataclass(frozen=True)
class Source:
    """Images, the side that they are stored at, how they are split, and the variants that suit them."""

    name: str
    images: str
    size: int
    split: tuple[str, ...]
    variants: tuple[str, ...]


@dataclass(frozen=True)
class Network:
    """A backbone, its weights, and the side in pixels that it sees of images of each source."""

    name: str
    weights: str
    sides: dict[str, int]

    @property
    def folder(self) -> str:
        """Its name as a folder."""
        return self.name.replace(":", "-")


def make_images(source: Source, work: Path) -> None:
    """Run prepare and augment; augmented images of val and test, which nothing here reads, are removed."""
    chosen = (
        f"prepare.source={source.images}",
        f"prepare.size={source.size}",
        *source.split,
        f"augment.size={source.size}",
        *POLICIES,
        f"augment.variants=[{', '.join(source.variants)}]",
    )
    for stage in ("prepare", "augment"):
        run_stage(stage, work / source.name, chosen, work)
    for split in ("val", "test"):
        for path in (work / source.name / "augment").glob(f"{split}-*.h5"):
            path.unlink()


def make_features(source: Source, network: Network, work: Path) -> Path:
    """The folder of features of all layers; featurize runs if they are not there."""
    out = work / source.name / f"featurize-{network.folder}-all"
    if out.exists():
        return out
    if not (work / source.name / "augment").exists():
        make_images(source, work)
    chosen = (
        f"featurize.backbone={network.name}",
        f"featurize.weights={network.weights}",
        f"featurize.size={network.sides[source.name]}",
        "featurize.layers=all",
        "augment.variants=[]",
        "train_head.schedule=[unaugmented x 1]",
    )
    run_stage("featurize", work / source.name, chosen, work, "--out", str(out))
    return out


def run_stage(stage: str, data: Path, chosen: tuple[str, ...], work: Path, *flags: str) -> None:
    """One stage as its own process, with a store under `work`."""
    sets = [part for override in chosen for part in ("--set", override)]
    command = [sys.executable, "-m", f"stages.{stage}", "--data", str(data), *flags, *sets]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"AUGCACHE_STORE": str(work / "store")}, check=True)
