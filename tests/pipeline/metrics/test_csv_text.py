"""CSV text that any spreadsheet reads back."""

from dataclasses import dataclass

from pipeline.metrics.csv_text import curves_csv, rows_csv, to_csv


def test_class_names_with_commas_and_quotes_survive_csv() -> None:
    assert to_csv(("class",), [('sea "gull", herring',)]) == 'class\n"sea ""gull"", herring"\n'


@dataclass(frozen=True)
class Row:
    name: str
    share: float


def test_a_dataclass_is_a_row_and_floats_have_six_digits() -> None:
    assert rows_csv(Row, [Row("a", 1 / 3)]) == "name,share\na,0.333333\n"
    assert rows_csv(Row, []) == "name,share\n"


def test_curves_have_every_column_that_any_epoch_has() -> None:
    header, first, second = curves_csv(
        [{"epoch": 1, "lr": 0.1}, {"epoch": 2, "val_accuracy_color_1": 0.5}]
    ).splitlines()
    assert header == "epoch,variant,lr,train_loss,train_accuracy,val_loss,val_accuracy,val_accuracy_color_1"
    assert (first, second) == ("1,,0.1,,,,,", "2,,,,,,,0.5")
    assert curves_csv([]) == "epoch,variant,lr,train_loss,train_accuracy,val_loss,val_accuracy\n"
