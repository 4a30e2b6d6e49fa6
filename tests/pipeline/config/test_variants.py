"""Names of variants."""

from pipeline.config.shared.variants import variant_order


def test_variants_are_ordered_by_policy_and_draw_after_unaugmented() -> None:
    variants = ["spatial_10", "spatial_2", "unaugmented", "color_1"]
    assert sorted(variants, key=variant_order) == ["unaugmented", "color_1", "spatial_2", "spatial_10"]
