"""Show the results of all stages on one self-contained page that opens offline.

\b
Reads   data/prepare, augment, gan    images, for samples of every variant next to their source
        data/featurize                what made the features
        data/train_head, train_model  curves
        data/evaluate, data/runs      accuracies, tables, mistakes; time, cache hits and parameters of each stage
Writes  data/report/index.html        leaves out what this run does not have, such as a test split
        data/report/review.csv        one row per image to look at: fill in action, run python -m stages.relabel
"""

import yaml

from cache.errors import ParamsError
from cache.files import write_bytes, write_text
from cache.reader import read_features
from pipeline.config.shared.featurize import with_sizes
from pipeline.report.results import TEXTS, RunResults
from pipeline.report.review import FILE, outlook_of, review_csv, review_rows
from pipeline.report.run_report import render_report
from pipeline.runtime.provenance import git, git_revision, make_provenance, plain_values, plain_values_like
from pipeline.runtime.run_record import params_used
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Gather, render, write; return the summary."""
    images = {name: rows for stage in ("prepare", "augment", "gan") for name, rows in job.sets(stage).items()}
    texts = [path for pattern in TEXTS for path in sorted(job.data.glob(pattern))]
    params = params_used(job.data, job.params)
    used = plain_values(params.sections)
    text = yaml.safe_dump(used, sort_keys=False, allow_unicode=True)
    results = RunResults(
        report=job.params.report,
        evaluate=params.evaluate,
        featurize=params.featurize,
        images=images,
        features={path.stem: read_features(path) for path in sorted((job.data / "featurize").glob("*.h5"))},
        texts={path.relative_to(job.data).as_posix(): path.read_text(encoding="utf-8") for path in texts},
        provenance=make_provenance(text, used, plain_values_like(params.sections, _committed()), git_revision()),
    )
    write_text(job.out / FILE, review_csv(review_rows(results)))
    if line := outlook_of(results):
        job.say(line)
    path = job.out / "index.html"
    page = render_report(results).encode()
    write_bytes(path, page)
    return f"{path}, {len(page) / 1e6:.1f} MB; what to look at is listed in {job.out / FILE}"


def _committed() -> object:  # the values of params.yaml in the commit that is checked out; None if unknown
    try:
        values = yaml.safe_load(git("show", "HEAD:./params.yaml"))
        return with_sizes(values) if isinstance(values, dict) else None
    except (yaml.YAMLError, ParamsError):
        return None


if __name__ == "__main__":
    run_stage("report", run)
