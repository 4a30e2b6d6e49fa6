"""Draw the augmented variants of every split, once per image.

Reads data/prepare/<split>.h5, writes data/augment/<split>-<variant>.h5. A variant is a policy and a draw:
spatial_2 is the second draw of the policy `spatial`. Each image is drawn from (seed, variant, content), so the
result does not depend on order or on the number of workers. A file whose recipe and images still hold is kept,
rows that did not change are taken over from the old file, and the rest is computed in parallel.
"""

import shutil

from cache.files import remove_others
from cache.reader import read_images
from cache.writer import write_images
from pipeline.augmentation.augment import Workshop, augment, is_current
from pipeline.augmentation.policy import make_augmentation, unfused
from pipeline.runtime.workers import Pool
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Build every (split, variant) file; return the summary."""
    config = job.params.augment
    for policy, steps in unfused(config).items():
        job.say(f"policy {policy} is run by imgaug; the faster engine does not know {', '.join(steps)}")
    augmentations = [make_augmentation(config, variant) for variant in config.variants]
    splits = {split: read_images(path) for split, path in job.inputs("prepare").items()}
    outputs = {
        job.out / f"{split}-{augmentation.variant}.h5": (images, augmentation)
        for split, images in splits.items()
        for augmentation in augmentations
    }
    job.out.mkdir(parents=True, exist_ok=True)  # DVC wants it even if there is no variant
    remove_others(job.out, set(outputs))
    total = sum(len(images) for images, _ in outputs.values())
    computed = 0
    parts = job.out / ".parts"
    with Pool(config.workers, config.scheduler) as pool, job.progress(total, "img") as advance:
        workshop = Workshop(parts, config.rows_per_task, pool)
        for path, (images, augmentation) in outputs.items():
            old = read_images(path) if path.exists() else None
            if old is not None and is_current(old, images, augmentation):
                advance(len(images))
                continue
            augmented, count = augment(images, augmentation, workshop, old, advance)
            write_images(path, augmented)
            shutil.rmtree(parts, ignore_errors=True)
            computed += count
    shutil.rmtree(parts, ignore_errors=True)  # of a run that was killed between its last file and here
    job.facts.update(rows=total, cached=total - computed)
    return f"{total:,} images in {len(outputs)} files, {computed:,} computed, {total - computed:,} kept"


if __name__ == "__main__":
    run_stage("augment", run)
