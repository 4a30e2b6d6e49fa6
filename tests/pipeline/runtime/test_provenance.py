"""The command on the page repeats the run."""

from pipeline.runtime.provenance import make_provenance, overrides


def test_the_command_repeats_what_differs_from_the_commit() -> None:
    committed = {"prepare": {"source": "digits", "size": 64}, "train_head": {"hidden": [512]}}
    used = {"prepare": {"source": "my photos", "size": 64}, "train_head": {"hidden": [64, 32]}}
    assert list(overrides(committed, used)) == ['prepare.source="my photos"', "train_head.hidden=[64,32]"]
    provenance = make_provenance("", used, committed, "abc with changes")
    assert provenance.commands == (
        "git checkout abc",
        "dvc exp run -S 'prepare.source=\"my photos\"' -S 'train_head.hidden=[64,32]'",
    )
    assert make_provenance("", used, used, "").commands == ("dvc repro",)


def test_the_command_is_one_that_dvc_understands() -> None:
    from dvc.utils.hydra import to_hydra_overrides

    policy = [{"Fliplr": {"p": 0.5}}, {"Affine": {"rotate": [-10, 10], "mode": "edge"}}]
    committed = {"augment": {"policies": {}}, "train_head": {"schedule": []}, "prepare": {"val": 1}}
    used = {
        "augment": {"policies": {"mild": policy}},
        "train_head": {"schedule": ["unaugmented x 2"]},
        "prepare": {"val": None},
    }
    understood = {
        change.key_or_group: change.value() for change in to_hydra_overrides(list(overrides(committed, used)))
    }
    assert understood == {
        "augment.policies.mild": policy,
        "train_head.schedule": ["unaugmented x 2"],
        "prepare.val": None,
    }
