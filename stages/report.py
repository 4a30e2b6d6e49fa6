"""Put everything that the stages found on one self-contained page, which opens without a network.

\b
Reads   data/prepare, augment, gan       images, for samples of every variant beside their source
        data/featurize, data/train_head  what made the features; curves
        data/evaluate, data/runs         accuracies, tables, mistakes; time and cache hits
Writes  data/report/index.html           without whatever this run lacks: a val or test split, say
"""

import yaml

from cache.errors import ParamsError
from cache.files import write_bytes
from cache.reader import read_features
from pipeline.config.featurize import with_sizes
from pipeline.report.results import TEXTS, RunResults
from pipeline.report.run_report import render_report
from pipeline.runtime.provenance import git, git_revision, make_provenance, plain_values, plain_values_like
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Gather, render, write; return the summary."""
    images = {name: one for stage in ("prepare", "augment", "gan") for name, one in job.sets(stage).items()}
    features = sorted((job.data / "featurize").glob("*.h5"))
    texts = [path for pattern in TEXTS for path in sorted(job.data.glob(pattern))]
    used = plain_values(job.params.sections)
    committed = plain_values_like(job.params.sections, _committed())
    params = yaml.safe_dump(used, sort_keys=False, allow_unicode=True)
    results = RunResults(
        report=job.params.report,
        evaluate=job.params.evaluate,
        featurize=job.params.featurize,
        images=images,
        features={path.stem: read_features(path) for path in features},
        texts={path.relative_to(job.data).as_posix(): path.read_text(encoding="utf-8") for path in texts},
        trainer=job.classifier_folder.name,
        provenance=make_provenance(params, used, committed, git_revision()),
    )
    path, page = job.out / "index.html", render_report(results).encode()
    write_bytes(path, page)
    return f"{path}, {len(page) / 1e6:.1f} MB"


def _committed() -> object:
    """What params.yaml holds at the commit that is checked out; None where unknown."""
    try:
        values = yaml.safe_load(git("show", "HEAD:./params.yaml"))
        return with_sizes(values) if isinstance(values, dict) else None
    except (yaml.YAMLError, ParamsError):
        return None


if __name__ == "__main__":
    run_stage("report", run)
