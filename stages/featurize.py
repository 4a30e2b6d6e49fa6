"""Turn images into pooled features of a frozen backbone.

Reads data/prepare/<split>.h5, and <split>-<variant>.h5 of data/augment and data/gan; writes them to data/featurize.
A row is keyed by its pixels and by everything that made it (weights, preprocessing, sizes, engine, precision, device,
library versions), and kept in the part store (AUGCACHE_STORE, else the user's cache folder): new ones are computed.

\b
  python -m stages.featurize --backbones 'timm:*b0*'   list backbones: size, input size, licence, AdvProp, on disk
"""

from dataclasses import replace
from pathlib import Path

from cache.parted import remove_other_sets
from cache.records import UNAUGMENTED
from cache.writer import write_features
from stages._backbones import make_featurizer, run_featurize
from stages._job import Job


def run(job: Job) -> str:
    """Featurize every (split, variant) file; return the summary."""
    from pipeline.features.featurizer import describe_origin, feature_store, featurize, remarks
    from pipeline.runtime.workers import Pool

    config = job.params.featurize
    featurizer = make_featurizer(job)
    sets = {name: job.read_images(path) for name, path in find_images(job).items()}
    remove_other_sets(job.out, {job.out / f"{name}.h5" for name in sets})
    origin = describe_origin(config, next(images for images in sets.values() if images.variant == UNAUGMENTED))
    notes = remarks(featurizer, {images.images.shape[1] for images in sets.values()})
    for note in notes:
        job.say(note)
    total = sum(map(len, sets.values()))
    store = feature_store(featurizer)
    computed = 0
    with Pool(config.workers, config.scheduler) as pool, job.progress(total, "img") as advance:
        for name, images in sets.items():
            path = job.out / f"{name}.h5"
            features, count = featurize(images, featurizer, pool, advance, store, path)
            write_features(path, replace(features, recipe={**features.recipe, **origin}))
            computed += count
    job.facts.update(rows=total, cached=total - computed, engine=featurizer.engine, remarks=notes)
    name = config.backbone + (" with RANDOM weights" if config.weights == "random" else "")
    return f"{total:,} rows in {len(sets)} files, {computed:,} computed, {total - computed:,} from the cache, by {name}"


def find_images(job: Job) -> dict[str, Path]:
    """Every image file by its output name <split>-<variant>, in order."""
    prepared = {f"{split}-{UNAUGMENTED}": path for split, path in job.inputs("prepare").items()}
    augmented = {path.stem: path for stage in ("augment", "gan") for path in (job.data / stage).glob("*.h5")}
    return dict(sorted({**prepared, **augmented}.items()))


if __name__ == "__main__":
    run_featurize(run)
