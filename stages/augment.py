"""Draw the augmented variants of every split, once per image.

Reads data/prepare/<split>.h5, writes data/augment/<split>-<variant>.h5. A variant is a policy and a draw:
spatial_2 is the second draw of the policy `spatial`. Each image is drawn from (seed, variant, content), so the result
does not depend on order or workers. A file that still holds is kept, and so are unchanged rows of one that does not.
With `augment.keep: nothing` a file holds identity and recipe; whoever reads its rows draws them, bit for bit alike.
"""

import shutil

from cache.files import check_space, free_space
from cache.reader import keep_sets, read_images
from cache.writer import write_images, write_variant
from pipeline.augmentation.augment import Workshop, augment, make_outputs, space_for, without_pixels
from pipeline.augmentation.keep import ModelReading, choose_keep
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
    model = job.params.train_model
    reading = ModelReading(job.params.model_schedule, model.seeds, model.memory_gb * 2**30)
    rows = {split: len(images) for split, images in splits.items()}
    keep = choose_keep(config, augmentations, rows, reading, free_space(job.out))
    if keep.reason:
        job.say(keep.reason)
    job.out.mkdir(parents=True, exist_ok=True)  # DVC wants it even if there is no variant
    outputs = make_outputs(job.out, splits, augmentations)
    old = keep_sets(job.out, {output.path for output in outputs})
    pending = [output for output in outputs if not output.is_current(old.get(output.path), keep)]
    check_space(job.out, space_for(pending, keep))
    total = len(augmentations) * sum(rows.values())
    computed = 0
    parts = job.out / ".parts"
    with Pool(config.workers, config.scheduler) as pool, job.progress(total, "img") as advance:
        advance(total - sum(len(output.images) for output in pending))
        for output in pending:
            workshop = Workshop(parts, config.rows_per_task, pool, output.path)
            if keep.choice == "nothing":
                write_variant(output.path, without_pixels(output.images, output.augmentation))
                continue
            augmented, count = augment(output.images, output.augmentation, workshop, old.get(output.path), advance)
            write_images(output.path, augmented)
            shutil.rmtree(parts, ignore_errors=True)
            computed += count
    shutil.rmtree(parts, ignore_errors=True)  # of a run that was killed between its last file and here
    kept = {"cached": total - computed} if keep.choice == "pixels" else {}
    job.facts |= {"rows": total, "keep": keep.choice, **kept}
    return keep.summary(total, len(outputs), computed)


if __name__ == "__main__":
    run_stage("augment", run)
