"""A thousand heads over 80,000 rows of 1,280 features, twelve epochs, in one pass. Aim: under a minute."""

import itertools

from common import DEVICE, DRY, gauged, params, record
from stage_runs import synthetic_features

from pipeline.heads.halving import make_sweep_data, run_pass, winner
from pipeline.heads.spec import HeadSpec

ROWS, HEADS, EPOCHS, CLASSES = (600, 8, 2, 5) if DRY else (80_000, 1000, 12, 200)
AXES = (
    (0.0003, 0.001, 0.003, 0.01, 0.03),
    (0.003, 0.01, 0.03, 0.1),
    (0.0, 0.1, 0.2, 0.3, 0.5),
    (0.0, 0.05, 0.1, 0.2, 0.3),
)


def main() -> None:
    train, val = (synthetic_features(rows, CLASSES, seed) for seed, rows in enumerate((ROWS, ROWS // 10)))
    for hidden, precision in (((), "float32"), ((512,), "bfloat16"), ((512,), "float32")):
        overrides = {"schedule": f"[unaugmented x {EPOCHS}]", "batch": 1024, "device": DEVICE, "precision": precision}
        config = params(*(f"train_head.{key}={value}" for key, value in overrides.items())).train_head
        specs = list(itertools.islice(grid(hidden), HEADS))
        with gauged() as gauge:
            trials = run_pass(specs, make_sweep_data({"unaugmented": train}, {"unaugmented": val}, config), config)
        rows = EPOCHS * ROWS * len(specs)
        record(
            "heads",
            hidden=list(hidden),
            precision=precision,
            heads=len(specs),
            rows=ROWS,
            epochs=EPOCHS,
            head_rows_per_second=rows / gauge.seconds,
            best_val_accuracy=winner(trials).val_accuracy,
            aim_seconds=60,
            **gauge.figures(),
        )
        del trials


def grid(hidden: tuple[int, ...]):
    """Two alphas of mixup over five learning rates, four decays, five dropouts and five smoothings."""
    for mixup, (lr, decay, dropout, smoothing) in itertools.product((0.0, 0.2), itertools.product(*AXES)):
        yield HeadSpec(hidden, lr, decay, dropout if hidden else 0.0, smoothing, mixup)


if __name__ == "__main__":
    main()
