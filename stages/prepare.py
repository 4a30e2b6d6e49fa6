"""Read a folder or archive of labelled images, check and size them, and split them into train, val and test.

Sources: digits (embedded), or a folder, .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz in one of the layouts
<class>/*, train/<class>/* with val/<class>/* and test/<class>/*, <class>/train/* with <class>/test/*, or Tiny ImageNet
as published, whose labelled validation images are its official test. Split folders may be called Train, TESTING,
seg_train, Validation and the like. A split that the source holds out itself is read only if prepare.val or
prepare.test is official; otherwise it is left out, and a line says so. So does a line for whatever is passed over.

Writes data/prepare/<split>.h5, manifest.json, and files.csv, which names the file of every row. Images that cannot be
read are listed in data/runs/prepare-unreadable.txt with reasons, and stop the stage unless prepare.unreadable is allow.
"""

import shutil
from pathlib import Path

from pipeline.config.prepare import PrepareConfig
from pipeline.ingest.choose_rows import choose_rows, duplicates_among
from pipeline.ingest.lists import write_files_csv, write_unreadable
from pipeline.ingest.manifest import make_manifest
from pipeline.ingest.outputs import publish, write_sets
from pipeline.ingest.read_source import ingest
from pipeline.runtime.workers import Pool
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
    source = ingest(config, scratch, job.progress)
    for line in source.lines():
        job.say(line)
    path = job.data / "runs" / "prepare-unreadable.txt"
    for line in write_unreadable(source.unreadable, path, config.unreadable == "refuse"):
        job.say(line)
    duplicates = duplicates_among(source, config)
    unique, rows = choose_rows(source, duplicates, config)
    for line in unique.relabel.moves():
        job.say(line)
    manifest = make_manifest(config, unique, duplicates, rows, source.names)
    with Pool("auto", config.scheduler) as pool, job.progress(manifest.total, "image", "write") as advance:
        sets = write_sets(scratch, unique, rows, pool, advance)
    write_files_csv(scratch / "files.csv", unique, rows)
    (scratch / "manifest.json").write_text(manifest.text(), encoding="utf-8")
    publish(scratch, job.out, [*sets, "files.csv", "manifest.json"])
    job.facts |= {"rows": manifest.images, "classes": len(unique.classes), "unreadable": len(source.unreadable)}
    return manifest.summary()


if __name__ == "__main__":
    run_stage("prepare", run)
