"""Section `report` of params.yaml."""

from pydantic import Field

from pipeline.config.shared.section import Section


class ReportConfig(Section):
    """The self-contained page."""

    title: str = Field(min_length=1, description="title of the page")
    samples: int = Field(ge=1, le=24, description="number of source images in the gallery, one per column")
