"""Find the policies of augmentation that pay on your images, and write them to params.yaml; no stage of dvc.yaml.

\b
Reads   data/prepare/train.h5                      never val or test
Writes  data/search/trials.csv, metrics.json       every policy that was tried, and the one that paid
        params.yaml                                the policies that paid, augment.variants, train_head.schedule
        params.yaml.before-search                  the file as it was

Each candidate of `search.policies` is drawn on few training images, featurized through the part store with the backbone
of `featurize` and all its layers, and judged by heads on folds that they have not seen. Comments in params.yaml stay.
`python -m stages.start` takes what was found, on the same source.
"""

import json

from cache.files import write_text
from cache.reader import read_images
from pipeline.config.edit import edit_params
from pipeline.config.params import read_params
from pipeline.metrics.csv_text import rows_csv
from pipeline.runtime.run_record import params_used
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Try every policy, write what paid; return the summary."""
    from pipeline.estimate.findings import facts_of
    from pipeline.features.featurizer import Featurizer
    from pipeline.heads.drawn_features import DrawnFeatures, few_images
    from pipeline.heads.policy_search import PolicySearch, PolicyTrial, changes_of
    from pipeline.runtime.workers import Pool

    config = job.params.search
    images = few_images(read_images(job.inputs("prepare", "train.h5")["train"]), config.images_per_class, config.seed)
    featurizer = Featurizer(job.params.featurize.model_copy(update={"layers": "all"}))
    total = len(images) * (1 + config.draws * sum(map(len, config.policies.values())))
    with Pool() as pool, job.progress(total, "img") as advance:
        drawn = DrawnFeatures(images, job.params.augment, featurizer, pool, advance)
        choice = PolicySearch(drawn.unaugmented(), drawn.of_policy, config).run()
    write_text(job.out / "trials.csv", rows_csv(PolicyTrial, choice.trials))
    write_text(job.out / "metrics.json", json.dumps(vars(choice.best), indent=2) + "\n")
    changes = changes_of(choice, config)
    job.facts |= facts_of(choice, changes["augment.variants"], params_used(job.data, job.params).prepare)
    old = job.file.read_text(encoding="utf-8")
    text = edit_params(old, changes)
    checked = job.out / "params.yaml"
    write_text(checked, text)
    read_params(checked)  # a schedule elsewhere may name variants that are gone
    if text != old:
        write_text(job.file.with_name(f"{job.file.name}.before-search"), old)
        write_text(job.file, text)
    best = choice.best
    gain = f"cross entropy {best.gain:.3f} ± {best.error:.3f} below" if choice.policies else "nothing beats"
    return f"{best.policy} of {len(choice.trials)} policies on {len(images):,} images: {gain} no augmentation"


if __name__ == "__main__":
    run_stage("search", run)
