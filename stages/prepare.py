"""Read a folder or archive of labelled images, check and size them, and split them into train, val and test.

Sources: digits (embedded), or a folder, .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz in one of the layouts
<class>/*, train/<class>/* with val/<class>/* and test/<class>/*, or Tiny ImageNet as published, whose labelled
validation images are its official test. A split that the source holds out itself is read only where
prepare.val or prepare.test says official; otherwise it is left out and counted.

Writes data/prepare/<split>.h5 and data/prepare/manifest.json. Images that cannot be read are listed, with the
reason for each, in data/runs/prepare-unreadable.txt, and stop the stage unless prepare.unreadable is allow.
"""

import shutil
from pathlib import Path

from cache.writer import write_images
from pipeline.config.prepare import PrepareConfig
from pipeline.ingest.decode import DecodeOptions
from pipeline.ingest.manifest import make_manifest
from pipeline.ingest.source import ingest, publish, write_unreadable
from pipeline.ingest.split import SplitRule, find_duplicates, imbalanced_rows, refuse_duplicates, split_rows
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Prepare in a scratch folder beside the outputs, which change only when everything has succeeded."""
    scratch = job.out / ".scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        return _prepare(job, job.params.prepare, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _prepare(job: Job, config: PrepareConfig, scratch: Path) -> str:
    wanted = {"train", *(split for split in ("val", "test") if getattr(config, split) == "official")}
    gathered = ingest(config.source, config.size, wanted, scratch, job.progress, DecodeOptions.of(config))
    write_unreadable(gathered.unreadable, job.data / "runs" / "prepare-unreadable.txt", config.unreadable == "refuse")
    duplicates = find_duplicates(gathered.ids, gathered.labels, gathered.held)
    if config.duplicates == "refuse":
        refuse_duplicates(duplicates, gathered.names)
    unique = gathered.take(duplicates.kept)
    if config.imbalance:
        unique = unique.of_classes(*imbalanced_rows(*unique.columns, config.imbalance, config.seed))
    rows = split_rows(*unique.columns, SplitRule(config.val, config.test, config.limit_per_class, config.seed))
    manifest = make_manifest(config, unique, duplicates, rows, gathered.names)
    with job.progress(sum(map(len, rows.values())), "image", "write") as advance:
        for split, index in rows.items():
            write_images(scratch / f"{split}.h5", unique.image_set(index))
            advance(len(index))
    (scratch / "manifest.json").write_text(manifest.text(), encoding="utf-8")
    publish(scratch, job.out, [*(f"{split}.h5" for split in rows), "manifest.json"])
    job.facts |= {"rows": manifest.images, "classes": len(unique.classes), "unreadable": len(gathered.unreadable)}
    counts = ", ".join(f"{count:,} {split}" for split, count in manifest.images.items())
    total = f"{sum(manifest.images.values()):,} images in {len(unique.classes):,} classes"
    copies = f"{duplicates.removed:,} duplicate" + "s" * (duplicates.removed != 1)
    return f"{total}: {counts}; {len(gathered.unreadable):,} refused, {copies} removed"


if __name__ == "__main__":
    run_stage("prepare", run)
