"""Evaluate the classifiers on the test split: clean, augmented, corrupted and under attack, and look for leaks.

\b
Reads   data/train_head, train_model       the head, the full model, or both
        data/featurize                     features of test, and of all splits to find near duplicates
        data/prepare, data/augment         images, for a full model and to attack and corrupt; names of their files
Writes  data/evaluate/metrics.json         top-1, top-5, macro F1 with their intervals, and calibration error (ece)
        .../classifiers.csv                the head and the full model side by side, if both are trained
        .../variants.csv                   what each cached variant gains the head, on val
        .../per_class.csv                  precision, recall and F1 of each class, and what it is mistaken for
        .../confusion.csv, confused.csv    actual and predicted class of each test image; the worst pairs
        .../suspects.csv, doubtful.csv     labels that are probably wrong, by heads that have not seen the image;
        .../unlisted.json                  how many others are, by what a person has decided
        .../learning_curve.csv, learning_classes.csv, occlusion.json
        .../predictions.csv, mistakes.csv, calibration.csv, near_duplicates.csv
        .../predictions-<variant>.npz      for `python -m stages.compare`
        .../other/                         the same for the classifier that is not used, if both are trained

evaluate.classifier says which of the two is used. Intervals are Wilson's for accuracies, and a bootstrap over images
for macro F1 and for differences. Nothing is chosen by these scores.
"""

from pipeline.inference.choose import trained_classifiers
from pipeline.runtime.run_record import params_used
from stages._cli import Job, run_stage


def run(job: Job) -> str:
    """Evaluate each classifier, write the tables, return the summary."""
    from pipeline.evaluation.evaluate import evaluate_classifier
    from pipeline.evaluation.overview import Overview, overview_files
    from pipeline.evaluation.source_files import read_source_files
    from pipeline.evaluation.tables import evaluation_files, summary
    from stages import _evaluation as steps

    config = job.params.evaluate
    params = params_used(job.data, job.params)
    stages = steps.stages_to_evaluate(job)
    features = steps.read_features_of(job, stages)
    inputs = {stage: steps.make_inputs(job, stage, features, params.featurize) for stage in stages}
    leaks = steps.leaks_of(job, features)
    with job.progress(sum(sets.steps(config) for sets in inputs.values()), "set") as advance:
        evaluations = {stage: evaluate_classifier(sets, config, leaks, advance) for stage, sets in inputs.items()}
    gains = steps.gains_of(job, stages, features, params.train_head)
    sources = read_source_files(job.data / "prepare")
    comparison = steps.both_side_by_side(evaluations, config.confidence)
    overview = Overview(evaluations, trained_classifiers(job.data), comparison, leaks, gains, features)
    files = overview_files(overview, config, sources)
    files |= steps.review_of(job, features, inputs[stages[0]], sources)
    for stage in stages[1:]:
        other = evaluation_files(evaluations[stage], config.worst, sources, {})
        files |= {f"other/{name}": content for name, content in other.items()}
    steps.write_files(job, files)
    job.facts["rows"] = sum(len(rows) for evaluation in evaluations.values() for rows in evaluation.predictions["test"])
    return summary(evaluations)


if __name__ == "__main__":
    run_stage("evaluate", run)
