import pytest

from pipeline.ingest.split_words import WORDS, split_word, split_words


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        *((name, "train") for name in ("train", "Train", "TRAIN", "training", "Training", "train_set", "TrainSet")),
        *((name, "train") for name in ("trainset", "TRAINSET", "train2017", "Train Data", "images_train", "train (1)")),
        *((name, "val") for name in ("val", "Val", "valid", "Validation", "VALIDATION_SET", "dev", "eval", "val2017")),
        *((name, "test") for name in ("test", "Testing", "TEST", "test1", "test-images", "TestSet", "tst")),
    ],
)
def test_the_usual_forms_name_a_split(folder: str, split: str) -> None:
    word, others = split_word(folder)
    assert (WORDS[word], others) == (split, ())


@pytest.mark.parametrize("folder", ["cat", "trainer", "tester", "strain", "valley", "", "train_test", "猫"])
def test_other_names_name_none(folder: str) -> None:
    assert split_word(folder)[0] == ""


def test_words_beside_a_splits_count_only_if_another_split_has_them_too() -> None:
    assert split_words(["seg_train", "seg_test"]) == {"seg_train": "train", "seg_test": "test"}
    assert split_words(["train station", "bus station"]) == {}
    assert split_words(["train station", "test tube"]) == {}
