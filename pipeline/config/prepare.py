"""Section `prepare` of params.yaml."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PlainSerializer, model_validator

from pipeline.config.shared.section import Section

Fraction = Annotated[float, Field(gt=0, lt=1)]
CountPerClass = Annotated[int, Field(ge=1)]
DIGITS_FILE = "pipeline/digits.txt"


def _named(source: str) -> str:
    return "digits" if source == DIGITS_FILE else source


def _as_file(source: str) -> str:
    return DIGITS_FILE if source == "digits" else source


HoldOut = CountPerClass | Fraction | Literal["official", "none"]


class ImbalanceConfig(Section):
    """Make a balanced source imbalanced (report 004): n = largest - (largest - smallest) * u ** shape.

    u goes evenly from 0 to 1 over the classes in an order drawn by the seed; shape 1 is a straight line.
    """

    classes: Annotated[int, Field(ge=2)] | None = Field(description="how many classes are kept; null: all")
    largest: CountPerClass
    smallest: CountPerClass
    shape: float = Field(gt=0)

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.smallest > self.largest:
            raise ValueError("imbalance.smallest is above imbalance.largest")
        return self


class PrepareConfig(Section):
    """What to read, the stored size, and how to split."""

    source: Annotated[str, AfterValidator(_named), PlainSerializer(_as_file)] = Field(
        min_length=1, description=f"a folder or archive of labelled images, or `{DIGITS_FILE}` (embedded digits)"
    )
    size: int = Field(
        ge=8, le=1024, description="stored side in pixels: shorter side resized, centre crop; `auto`: featurize.size"
    )
    val: HoldOut = Field(description="validation images: a fraction, a count per class, `official` or `none`")
    test: HoldOut = Field(description="test images: a fraction, a count per class, `official` or `none`")
    limit_per_class: CountPerClass | None = Field(description="keep at most this many training images a class")
    imbalance: ImbalanceConfig | None = Field(
        description="images a class by a law, before splitting: `{classes: 91, largest: 500, smallest: 146, shape: 2}`"
    )
    duplicates: Literal["remove", "refuse"] = Field(description="what to do with images of the same pixels")
    unreadable: Literal["refuse", "allow"] = Field(description="whether files that cannot be read stop the stage")
    seed: int = Field(ge=0, description="seed of the split, of `limit_per_class` and of `imbalance`")
