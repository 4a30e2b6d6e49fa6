"""What the page says first: one sentence for those who do not know the terms, and figures on tiles."""

from collections.abc import Iterator

from cache.records import UNAUGMENTED
from pipeline.config.shared.stages import EVALUATE, TRAIN_HEAD, TRAIN_MODEL
from pipeline.report.charts import number
from pipeline.report.details import SPLITS
from pipeline.report.html import percent
from pipeline.report.results import TRAINERS, RunResults
from pipeline.report.review import doubt_of_test, open_suspects

COUNTS = (10, 100, 1000)  # photos of which the sentence speaks: the fewest that show the interval


def in_plain_words(results: RunResults) -> str:
    """Such as `Of 10 new photos like these, 7 to 9 would be classified right by the head, ...`; empty without test."""
    clean = results.group("test").get(UNAUGMENTED)
    if clean is None:
        return ""
    low = clean["top1_low"]
    high = clean["top1_high"]
    count = next((count for count in COUNTS if round(count * low) < round(count * high)), COUNTS[-1])
    least = round(count * low)
    most = round(count * high)
    span = f"{least:,} to {most:,}" if least < most else f"about {least:,}"
    measured = f"This was measured on {clean['n']:,} test photos that nothing was trained on."
    return f"Of {count:,} new photos like these, {span} would be classified right by {_classifier(results)}. {measured}"


def _classifier(results: RunResults) -> str:
    if results.used == TRAIN_MODEL:
        return "the full model, a whole network that was trained on the training photos"
    backbone = results.featurize.backbone
    return f"the head, a small classifier that judges by what the network {backbone} sees in a photo"


def doubtful_labels(results: RunResults) -> str:
    """How many test labels are suspected; empty if none are, or without a test split."""
    clean = results.group("test").get(UNAUGMENTED)
    suspects = open_suspects(results.table(f"{EVALUATE}/suspects.csv"), results.manifest)
    return "" if clean is None else doubt_of_test(suspects, int(clean["n"]))


def tiles(results: RunResults) -> Iterator[tuple[str, str, str]]:
    """Figure, what it is, and a remark."""
    clean = results.group("test").get(UNAUGMENTED)
    level = f"{100 * results.evaluate.confidence:g} % interval"
    if clean is not None:
        for name, shown in (("top1", "top-1 on test"), ("top5", "top-5 on test"), ("macro_f1", "macro F1 on test")):
            low = percent(clean.get(f"{name}_low"))
            high = percent(clean.get(f"{name}_high"))
            yield percent(clean.get(name)), shown, f"{level} {low} to {high}"
        if "ece" in clean:
            chance = percent(results.calibration.get("ece_by_chance"))
            yield (
                percent(clean["ece"]),
                "calibration error",
                f"exact probabilities would show {chance} on {clean['n']:,} photos, by chance",
            )
    accuracy = val_accuracy(results)
    if accuracy is not None:
        yield (
            percent(accuracy),
            "top-1 on val",
            f"of the {chosen_classifier(results)}{_val_interval(results)}",
        )
    images = {split: results.images[split] for split in SPLITS if split in results.images}
    if images:
        parts = ", ".join(f"{len(rows):,} {split}" for split, rows in images.items())
        yield f"{sum(map(len, images.values())):,}", "images", parts
        yield f"{len(next(iter(images.values())).classes):,}", "classes", ""


def _val_interval(results: RunResults) -> str:
    """Of the accuracy on val, with the number of photos, as evaluate has measured it."""
    own = results.group("classifiers").get(results.used, {})
    if "val_accuracy_low" not in own or "val" not in results.images:
        return ""
    low = percent(own["val_accuracy_low"])
    high = percent(own["val_accuracy_high"])
    photos = f"{len(results.images['val']):,} photos"
    return f"; {100 * results.evaluate.confidence:g} % interval {low} to {high}, {photos}"


def val_accuracy(results: RunResults) -> float | None:
    """Of the classifier that is used, as evaluate or its own stage says, else in the epoch that was kept."""
    own = results.group("classifiers").get(results.used, {}).get("val_accuracy")
    recorded = results.json(f"{results.used}/metrics.json").get("val_accuracy") if own is None else own
    if recorded is not None:
        return number(recorded)
    epoch = results.best_epoch(results.used)
    return number(results.curves(results.used)[epoch - 1].get("val_accuracy")) if epoch else None


def chosen_classifier(results: RunResults) -> str:
    """The classifier that is used and what chose it, such as `linear head, chosen by 5-fold cross-validation`."""
    metrics = results.json(f"{results.used}/metrics.json")
    is_head = results.used == TRAIN_HEAD and "head" in metrics
    name = f"{metrics['head']} head" if is_head else TRAINERS[results.used]
    epoch = results.best_epoch(results.used)
    kept = f" after epoch {epoch}, which was chosen on val" if epoch else ""
    chosen = f", chosen by {metrics['chosen_by']}" if "chosen_by" in metrics else ""
    return f"{name}{kept}{chosen}"
