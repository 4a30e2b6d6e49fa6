"""Put everything that the stages found on one self-contained page, which opens without a network.

\b
Reads   data/prepare, data/augment    the images, for samples of every variant beside their source
        data/featurize                what made the features
        data/train_head, data/evaluate  curves; accuracies, tables, mistakes
        data/runs                     time and cache hits of each stage
Writes  data/report/index.html

Whatever a run does not have (no val or test split, say) is left out.
"""

import yaml

from cache.reader import read_features, read_images
from pipeline.config.evaluate import EvaluateConfig
from pipeline.config.featurize import FeaturizeConfig
from pipeline.config.report import ReportConfig
from pipeline.findings import TEXTS, Findings
from pipeline.provenance import git, git_revision, make_provenance
from pipeline.report import render_report
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Gather, render, write; return the summary."""
    images, features = (
        [path for stage in stages for path in sorted((job.data / stage).glob("*.h5"))]
        for stages in (("prepare", "augment"), ("featurize",))
    )
    texts = [path for pattern in TEXTS for path in sorted(job.data.glob(pattern))]
    used = {name: section.model_dump(mode="json") for name, section in job.sections.items()}
    params = yaml.safe_dump(used, sort_keys=False, allow_unicode=True, width=100)
    committed = yaml.safe_load(git("show", "HEAD:./params.yaml")) or {}
    findings = Findings(
        report=job.section(ReportConfig),
        evaluate=job.section(EvaluateConfig),
        featurize=job.section(FeaturizeConfig),
        images={path.stem: read_images(path) for path in images},
        features={path.stem: read_features(path) for path in features},
        texts={path.relative_to(job.data).as_posix(): path.read_text(encoding="utf-8") for path in texts},
        provenance=make_provenance(params, used, committed, git_revision()),
    )
    page = render_report(findings).encode()
    job.out.mkdir(parents=True, exist_ok=True)
    (job.out / "index.html").write_bytes(page)
    return f"{job.out / 'index.html'}, {len(page) / 1e6:.1f} MB"


if __name__ == "__main__":
    run_stage("report", run)
