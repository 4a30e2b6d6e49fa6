"""Section `prepare` of params.yaml."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainSerializer

from pipeline.params import Section

Fraction = Annotated[float, Field(gt=0, lt=1)]
CountPerClass = Annotated[int, Field(ge=1)]
DIGITS_FILE = "pipeline/digits.txt"


def _named(source: str) -> str:
    return "digits" if source == DIGITS_FILE else source


def _as_file(source: str) -> str:
    return DIGITS_FILE if source == "digits" else source


HoldOut = CountPerClass | Fraction | Literal["official", "none"]


class PrepareConfig(Section):
    """What to read, the stored size, and how to split."""

    source: Annotated[str, AfterValidator(_named), PlainSerializer(_as_file)] = Field(
        min_length=1, description=f"a folder or archive of labelled images, or `{DIGITS_FILE}` (embedded digits)"
    )
    size: int = Field(ge=8, le=1024, description="stored side in pixels: shorter side resized, centre crop")
    val: HoldOut = Field(description="validation images: a fraction, a count per class, `official` or `none`")
    test: HoldOut = Field(description="test images: a fraction, a count per class, `official` or `none`")
    limit_per_class: CountPerClass | None = Field(description="keep at most this many training images a class")
    duplicates: Literal["remove", "refuse"] = Field(description="what to do with images of the same pixels")
    unreadable: Literal["refuse", "allow"] = Field(description="whether files that cannot be read stop the stage")
    seed: int = Field(ge=0, description="seed of the split and of `limit_per_class`")
