"""A schedule is read as it is written, and settled by the sets that there are."""

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.config.shared.schedule import Schedule, settled

SETS = {"unaugmented": range(100), "mild_1": range(100), "gan_1": range(7)}


def read(*phases: str) -> Schedule:
    return TypeAdapter(Schedule).validate_python(list(phases))


def settled_text(*phases: str) -> list[str]:
    return [str(phase) for phase in settled(read(*phases), SETS)]


def test_it_is_written_as_it_was_read() -> None:
    phases = ["unaugmented x 2", "mild_1 | unaugmented x 3", "all x 12000 images", "all x 9 images or 3"]
    assert [str(phase) for phase in read(*phases)] == phases


def test_all_stands_for_every_variant_of_photos() -> None:
    assert settled_text("all x 2", "gan_1 x 1") == ["unaugmented | mild_1 x 2", "gan_1 x 1"]


@pytest.mark.parametrize(("images", "epochs"), [(1, 1), (100, 1), (140, 1), (160, 2), (1000, 10)])
def test_a_length_in_images_becomes_whole_epochs(images: int, epochs: int) -> None:
    assert settled_text(f"unaugmented x {images} images") == [f"unaugmented x {epochs}"]


@pytest.mark.parametrize(("images", "epochs"), [(1, 3), (340, 3), (360, 4), (1000, 10)])
def test_a_length_in_images_may_have_a_least_number_of_epochs(images: int, epochs: int) -> None:
    assert settled_text(f"unaugmented x {images} images or 3") == [f"unaugmented x {epochs}"]


@pytest.mark.parametrize(
    "phase",
    [
        "all x 3 or 4",
        "all x 9 images or 0",
        "all x 0 images",
        "all x images",
        "all x 3 pictures",
        "all x -1",
        "a | a x 2",
    ],
)
def test_what_is_no_length_is_refused(phase: str) -> None:
    with pytest.raises(ValidationError, match="phase"):
        read(phase)
