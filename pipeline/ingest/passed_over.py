"""What prepare did not take, in words: every folder, ending and split that was passed over, by class."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cache.errors import InputError
from pipeline.ingest.layouts import Layout
from pipeline.ingest.listing import NO_ENDING, SYSTEM_FOLDER, Listing
from pipeline.ingest.names import ending_of, folder_of
from pipeline.ingest.split_words import UNLABELLED

SHOWN = 5  # folders and kinds that a line on the terminal names; the manifest names all
OUTSIDE = "outside class folders"


@dataclass(frozen=True)
class PassedOver:
    """Plain values for the manifest.

    files: how many files that are no images, by class or folder and by kind. image_content: passed-over files that are
    images by their content, and their format, an example of each folder and kind. without_images: folders that became
    no class, and why. left_out: images of official splits that were not asked for, or unlabelled. remarks: what may
    have been meant otherwise.
    """

    files: dict[str, dict[str, int]]
    image_content: dict[str, str]
    without_images: dict[str, str]
    left_out: dict[str, int]
    remarks: list[str]

    def lines(self) -> Iterator[str]:
        """For the terminal, one line for each kind of thing."""
        by_kind: dict[str, dict[str, int]] = defaultdict(dict)
        for folder, kinds in self.files.items():
            for kind, count in kinds.items():
                by_kind[kind][folder] = count
        ordered = sorted(by_kind, key=lambda kind: (-sum(by_kind[kind].values()), kind))
        for kind in ordered[:SHOWN]:
            folders = [f"{folder} {count:,}" for folder, count in by_kind[kind].items()]
            yield f"passed over {_count_in_words(sum(by_kind[kind].values()), kind)} ({_first(folders)})"
        if len(ordered) > SHOWN:
            rest = sum(sum(by_kind[kind].values()) for kind in ordered[SHOWN:])
            yield f"passed over {rest:,} more: {_first(ordered[SHOWN:])}"
        if self.image_content:
            examples = [f"{name} is {format_name}" for name, format_name in self.image_content.items()]
            yield f"passed over, though they are images by their content: {_first(examples)}; rename them to be read"
        without = [f"{folder} ({reason})" for folder, reason in self.without_images.items()]
        if without:
            yield f"no class is made of folders without images: {_first(without)}"
        for split, count in self.left_out.items():
            images = f"{count:,} image{'' if count == 1 else 's'}"
            yield f"left out {images} {_split_in_words(split)}"
        yield from self.remarks


def find_passed_over(listing: Listing, layout: Layout) -> PassedOver:
    """Sort what a listing passed over by the classes of a layout.

    Raises InputError if a class would be lost though its files are images by their content.
    """
    files: dict[str, Counter[str]] = defaultdict(Counter)
    used = Counter((folder_of(name), ending_of(name)) for name in layout.tables)
    for (folder, kind), count in sorted((listing.passed_over - used).items()):
        if f"*{kind}" in layout.tables:
            continue
        files[_place_of(folder, layout)[1] or layout.relative(folder) or OUTSIDE][kind] += count
    for (folder, _), (name, format_name) in sorted(listing.image_content.items()):
        label = _lost_class(folder, layout)
        if label:
            raise InputError(
                f"class {label} would be lost: none of its files has the ending of an image",
                found=f"{_kinds(files[label])}, of which {name} is {format_name} by its content",
                remedy="Give them the ending of their format, or take the folder away.",
            )
    contents = sorted(listing.image_content.values())
    return PassedOver(
        files={folder: dict(sorted(kinds.items())) for folder, kinds in sorted(files.items())},
        image_content={layout.relative(name): format_name for name, format_name in contents},
        without_images=_without_images(listing, layout, files),
        left_out=dict(sorted(layout.left_out.items())),
        remarks=[*layout.remarks, *_remarks_on_spellings(listing), *_remarks_on_endings(listing, layout)],
    )


def _without_images(listing: Listing, layout: Layout, files: Mapping[str, Counter[str]]) -> dict[str, str]:
    """Folders that would be classes if they held images, and splits that are empty; with the reason."""
    lost = {label for folder, _ in listing.passed_over if (label := _lost_class(folder, layout))}
    without_images = {label: _kinds(files[label]) for label in lost}
    for folder in _empty_folders(listing):
        label = _place_of(folder, layout)[1]
        if label not in layout.classes:
            without_images.setdefault(label or layout.relative(folder), "it is empty")
    return dict(sorted(without_images.items()))


def describe_listing(listing: Listing) -> str:
    """What a source that fits no layout holds besides images, for the end of the error's line; empty if nothing."""
    if not listing.passed_over:
        return ""
    counts = sorted(listing.passed_over.items())
    listed = [f"{_count_in_words(count, kind)} in {folder or 'no folder'}" for (folder, kind), count in counts]
    return f"Passed over: {_first(listed)}."


def _remarks_on_spellings(listing: Listing) -> list[str]:
    """Folders that are spelled in composed and in decomposed letters, which look the same."""
    folders: dict[str, set[str]] = defaultdict(set)
    for name, spelling in listing.spellings.items():
        folders[folder_of(name)].add(folder_of(spelling))
    plain = {folder_of(name) for name in listing.names - listing.spellings.keys()}
    return [
        f"folder {folder} is there in {count} Unicode spellings that look the same; they are read as one"
        for folder, spellings in sorted(folders.items())
        if (count := len(spellings | ({folder} & plain))) > 1
    ]


def _remarks_on_endings(listing: Listing, layout: Layout) -> list[str]:
    """Images that are of another format than their endings say."""
    examples = [f"{layout.relative(name)} is {format_name}" for name, format_name in listing.misnamed.values()]
    return [f"read by their content, not by their ending: {_first(sorted(examples))}"] if examples else []


def _place_of(folder: str, layout: Layout) -> tuple[str, str]:
    """The split and the class that a file in a folder would have; empty ones outside the layout."""
    name = f"{folder}/x"
    return layout.placement.locate(layout.relative(name)) if name.startswith(layout.prefix) else ("", "")


def _lost_class(folder: str, layout: Layout) -> str:
    """The class that a folder of training files would make, if it has no image; else empty."""
    split, label = _place_of(folder, layout)
    return label if split == "train" and label not in layout.classes else ""


def _empty_folders(listing: Listing) -> list[str]:
    """Folders with no file in them at any depth; of those inside each other the outermost."""
    holding = {""}
    for folder in {*map(folder_of, listing.names), *(folder for folder, _ in listing.passed_over)}:
        parts = folder.split("/")
        holding.update("/".join(parts[: length + 1]) for length in range(len(parts)))
    return sorted(folder for folder in listing.folders - holding if folder_of(folder) in holding)


def _kinds(counts: Counter[str]) -> str:
    return _first([_count_in_words(count, kind) for kind, count in sorted(counts.items())])


def _count_in_words(count: int, kind: str) -> str:
    """`3 files ending in .txt`."""
    files = f"{count:,} file{'' if count == 1 else 's'}"
    if kind == NO_ENDING:
        return f"{files} without an ending"
    if kind.startswith("."):
        return f"{files} ending in {kind}"
    folder = kind.removeprefix(SYSTEM_FOLDER)
    return f"{files} in {folder}" if folder != kind else f"{files} of the system ({kind})"


def _split_in_words(split: str) -> str:
    if split == UNLABELLED:
        return "without labels"
    return f"of the source's own {split} split, which prepare.{split}=official would use"


def _first(items: Sequence[str]) -> str:
    listed = ", ".join(items[:SHOWN])
    return f"{listed} and {len(items) - SHOWN:,} more" if len(items) > SHOWN else listed
