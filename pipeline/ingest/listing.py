"""Name every file of a source: images, and what is passed over, by folder and by kind."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from cache.errors import InputError
from pipeline.ingest.archive import Entry, Unreadable, walk
from pipeline.ingest.decode import EXTENSIONS
from pipeline.ingest.image_magic import ENDINGS, HEAD, image_format
from pipeline.ingest.label_tables import SIDECAR, TABLES
from pipeline.ingest.layouts import ANNOTATIONS
from pipeline.ingest.names import ending_of, folder_of, system_part

ANNOTATION_BYTES = 64 << 20
LABEL_BYTES = 1024
MOST_TABLES = 100
SNIFFED = 3  # files of each folder and kind whose content is looked at
NO_ENDING = "no ending"
SYSTEM_FOLDER = "folder "  # the start of a kind that is a folder of the system


@dataclass
class Listing:
    """What a source holds by name.

    names: of images. spellings: names as the source has them, if they differ. folders: all folders except the system's.
    ignored: files that are no images, by ending; those of the system are `hidden`. passed_over: the same by folder and
    kind; a kind is an ending, `no ending`, or the system's own, such as `folder @eaDir`, `Thumbs.db` or `hidden`.
    image_content: of a folder and kind, a passed-over file that is an image by its content, and its format.
    misnamed: of a folder and ending, an image that is of another format than its ending says, and its format.
    annotations: the text of Tiny ImageNet's, by their names. tables, sidecars: what may give labels, by name.
    is_of_files: whether each image is a file of a folder, and none lies in an archive or another file.
    """

    names: set[str] = field(default_factory=set)
    spellings: dict[str, str] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    ignored: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[tuple[str, str]] = field(default_factory=Counter)
    image_content: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    misnamed: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    tables: dict[str, bytes] = field(default_factory=dict)
    sidecars: dict[str, str] = field(default_factory=dict)
    is_of_files: bool = True

    def spelled(self, name: str) -> str:
        """A name as the source has it."""
        return self.spellings.get(name, name)


def list_source(source: str, spool: Path | None = None) -> Listing:
    """Name every file of a source. Raises InputError for two files of one name.

    spool: a file to which a packed tar archive is unpacked on the way (`walk`).
    """
    listing = Listing()
    looked_at: Counter[tuple[str, str]] = Counter()
    for entry in walk(source, listing.folders.add, spool):
        ending = ending_of(entry.name)
        system = system_part(entry.name)
        if system:
            listing.ignored["hidden"] += 1
            folder, _, file = entry.name.partition(f"{system}/")
            key = (folder.rstrip("/"), f"{SYSTEM_FOLDER}{system}") if file else (folder_of(entry.name), system)
            listing.passed_over[key] += 1
        elif ending in EXTENSIONS:
            if entry.name in listing.names:
                raise InputError("holds two files of one name", where=source, found=entry.name, remedy="Rename one.")
            listing.names.add(entry.name)
            listing.is_of_files &= bool(entry.path)
            looked_at[folder_of(entry.name), ending] += 1
            if looked_at[folder_of(entry.name), ending] <= SNIFFED:
                _compare_ending(listing, entry, ending)
            if entry.spelling not in ("", entry.name):
                listing.spellings[entry.name] = entry.spelling
        else:
            listing.ignored[ending or NO_ENDING] += 1
            if entry.name.endswith(f"val/{ANNOTATIONS}"):
                listing.annotations[entry.name] = _read_text(entry)
            else:
                _keep_labels_or_pass_over(listing, entry, ending)
    listing.folders.difference_update([folder for folder in listing.folders if system_part(f"{folder}/x")])
    return listing


def _keep_labels_or_pass_over(listing: Listing, entry: Entry, ending: str) -> None:
    """Keep what may be a table of labels, or the label of one image; look at the start of anything else."""
    key = (folder_of(entry.name), ending or NO_ENDING)
    if ending == SIDECAR:
        listing.passed_over[key] += 1
        listing.sidecars[entry.name] = _content(entry, LABEL_BYTES).decode("utf-8", "backslashreplace")
    elif ending in TABLES and len(listing.tables) < MOST_TABLES:
        listing.passed_over[key] += 1
        content = _content(entry, ANNOTATION_BYTES + 1)
        if len(content) <= ANNOTATION_BYTES:
            listing.tables[entry.name] = content
    else:
        _pass_over(listing, entry, key)


def _content(entry: Entry, most: int) -> bytes:
    """The first bytes of a file; none if it cannot be read."""
    try:
        return entry.read(most)
    except Unreadable:
        return b""


def _pass_over(listing: Listing, entry: Entry, key: tuple[str, str]) -> None:
    """Count a file that is no image by its name, and look whether it is one by its content."""
    listing.passed_over[key] += 1
    if listing.passed_over[key] > SNIFFED or key in listing.image_content:
        return
    format_name = image_format(_content(entry, HEAD))
    if format_name:
        listing.image_content[key] = (entry.name, format_name)


def _compare_ending(listing: Listing, entry: Entry, ending: str) -> None:
    """Note an image whose content is of another format than its ending says; it is read all the same."""
    expected = ENDINGS.get(ending)
    format_name = image_format(_content(entry, HEAD)) if expected else ""
    if format_name and format_name != expected:
        listing.misnamed.setdefault((folder_of(entry.name), ending), (entry.name, format_name))


def _read_text(entry: Entry) -> str:
    content = entry.read()
    if len(content) > ANNOTATION_BYTES:
        raise InputError("is too long", where=entry.name, expected=f"at most {ANNOTATION_BYTES >> 20} MiB")
    return content.decode("utf-8", "backslashreplace")
