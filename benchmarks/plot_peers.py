"""The picture of accuracy against time, from the records that peers.py wrote.

    python benchmarks/plot_peers.py benchmarks/results/peers-*.json --out docs/peers.png

The records are called `peers-<data>-<images per class>.json`. One panel per record: time from the folder of images to
predictions, on a logarithmic axis, and accuracy on test, the mean over the splits. Points of one name at several
lengths are joined.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

OURS = "augcache"
SECONDS = (5, 10, 20, 50, 100, 200, 500, 1000, 2000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    figure = Figure(figsize=(4.2 * len(given.records), 3.8), layout="constrained")
    panels = figure.subplots(1, len(given.records), squeeze=False)[0]
    for panel, path in zip(panels, given.records, strict=True):
        data, _, count = path.stem.removeprefix("peers-").rpartition("-")
        draw(panel, json.loads(path.read_text(encoding="utf-8")), f"{data}, {count} per class")
    panels[0].set_ylabel("accuracy on test, %")
    figure.savefig(given.out, dpi=110)


def draw(panel: Any, record: dict[str, Any], title: str) -> None:
    """One record: a line per peer, ours thick."""
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for name, points in by_name(record).items():
        seconds = float(np.mean([point["seconds"] for point in points]))
        accuracy = 100 * float(np.mean([point["accuracy"] for point in points]))
        lines[name.partition(",")[0]].append((seconds, accuracy))
    for name, places in lines.items():
        is_ours = name == OURS
        panel.plot(*zip(*sorted(places), strict=True), marker="o", linewidth=2.5 if is_ours else 1.2, label=name)
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(FixedLocator(SECONDS))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_title(title)
    panel.set_xlabel("seconds, from the folder to predictions")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)


def by_name(record: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Points of one name: the splits."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for point in record["points"]:
        groups[point["name"]].append(point)
    return groups


if __name__ == "__main__":
    main()
