"""Randomness is an argument."""

import torch

from pipeline.runtime.seeds import derived_seed, make_generator, torch_seeded


def test_a_seed_depends_on_every_part_and_on_their_borders() -> None:
    parts = [
        (0, "spatial_1", b"a"),
        (1, "spatial_1", b"a"),
        (0, "spatial_2", b"a"),
        (0, "spatial_1", b"b"),
        (0, "spatial_1a"),
    ]
    assert len({derived_seed(*names) for names in parts}) == len(parts)


def test_a_seed_is_the_same_on_every_machine() -> None:
    assert derived_seed(0, "spatial_1", b"photo") == derived_seed(0, "spatial_1", "photo") == 3761361501625298828


def test_generators_of_the_same_parts_draw_the_same() -> None:
    assert make_generator(3, "x").integers(0, 2**60) == make_generator(3, "x").integers(0, 2**60)


def test_seeding_torch_leaves_its_state_untouched() -> None:
    before = torch.random.get_rng_state()
    with torch_seeded("a"):
        first = torch.rand(3)
    with torch_seeded("a"):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.random.get_rng_state(), before)
