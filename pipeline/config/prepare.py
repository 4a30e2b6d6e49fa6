"""Section `prepare` of params.yaml."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PlainSerializer, model_validator

from pipeline.config.shared.section import Section

Fraction = Annotated[float, Field(gt=0, lt=1)]
CountPerClass = Annotated[int, Field(ge=1)]
BitDepth = Annotated[int, Field(ge=8, le=16)]
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
    layout: Literal["auto", "classes", "splits"] = Field(
        description="what folders named like splits are: `splits`, `classes`, or `auto` (decided by what lies in them)"
    )
    labels: str = Field(
        min_length=1,
        description="`folders`, or a table inside the source with columns file, label and perhaps split, such as "
        "`labels.csv`; `auto`: folders if they hold classes, else a table that names the images",
    )
    size: int = Field(ge=8, le=1024, description="stored side in pixels; `auto`: featurize.size")
    fit: Literal["crop", "pad", "squash"] = Field(
        description="how an image becomes square: `crop` (its centre), `pad` (all of it, with grey borders), "
        "`squash` (all of it, its proportions changed)"
    )
    val: HoldOut = Field(description="validation images: a fraction, a count per class, `official` or `none`")
    test: HoldOut = Field(description="test images: a fraction, a count per class, `official` or `none`")
    limit_per_class: CountPerClass | None = Field(description="keep at most this many training images per class")
    imbalance: ImbalanceConfig | None = Field(
        description="images per class by a law, before splits: `{classes: 91, largest: 500, smallest: 146, shape: 2}`"
    )
    relabel: str | None = Field(
        description="a table of corrections, `file,action,label`, as `python -m stages.relabel` writes it; null: none"
    )
    duplicates: Literal["remove", "refuse", "keep"] = Field(
        description="what to do with images of the same pixels; `keep` does not look for them: choices then go by the "
        "bytes of files, and what `limit_per_class` and `imbalance` leave out is not decoded"
    )
    unreadable: Literal["refuse", "allow"] = Field(description="whether files that cannot be read stop the stage")
    bit_depth: Literal["auto"] | BitDepth = Field(
        description="bits in use, such as 12, in images stored with more than 8 per channel that do not declare it; "
        "`auto`: 16, and images that would be nearly black are refused"
    )
    max_megapixels: float = Field(
        gt=0, description="refuse images that decode to more million pixels; large JPEGs decode at a fraction"
    )
    scheduler: str | None = Field(
        description="address of a running dask scheduler, tcp://host:port, or null; its workers decode a folder, which "
        "lies with the data folder on a disk that they share; archives are decoded here"
    )
    seed: int = Field(ge=0, description="seed of the split, of `limit_per_class` and of `imbalance`")
