"""Which of the images that were read go into train, val and test."""

from dataclasses import replace

from cache.layout import Array
from pipeline.config.prepare import PrepareConfig
from pipeline.ingest.choose_files import rule_of
from pipeline.ingest.source import Source
from pipeline.ingest.split import (
    Duplicates,
    explain_losses,
    find_duplicates,
    imbalanced_rows,
    refuse_duplicates,
    split_rows,
    without_looking,
)
from pipeline.ingest.steady_split import split_steadily


def choose_rows(source: Source, duplicates: Duplicates, config: PrepareConfig) -> tuple[Source, dict[str, Array]]:
    """What is left without duplicates and after `imbalance`, and the rows of each split among it."""
    losses = explain_losses(source.labels, source.classes, duplicates, source.lost, source.names)
    unique = source.take(duplicates.kept)
    if config.imbalance and config.duplicates != "keep":
        unique = unique.of_classes(*imbalanced_rows(*unique.columns, config.imbalance, config.seed))
        return unique, split_rows(*unique.columns, rule_of(config), losses)
    if source.former is None or source.dropped is None or unique.former is None:
        return unique, split_rows(*unique.columns, rule_of(config), losses)
    gone = source.former.followed_by(source.dropped).gone(unique.ids, config.duplicates != "keep")
    steady = split_steadily(unique.former, gone, unique.labels, unique.classes, rule_of(config))
    moved = {unique.paths[row]: split for row, split in steady.moved.items()}
    return replace(unique, relabel=replace(unique.relabel, moved=moved)), steady.rows


def duplicates_among(source: Source, config: PrepareConfig) -> Duplicates:
    """Images of the same pixels, as prepare.duplicates says. Raises InputError if they are refused."""
    if config.duplicates == "keep":
        return without_looking(len(source.ids))
    duplicates = find_duplicates(*source.columns[:3])
    if config.duplicates == "refuse":
        refuse_duplicates(duplicates, source.names)
    return duplicates
