"""Pack the classifier into one folder that predicts on any machine without this project's data.

Writes bundle.json (classes, preprocessing, sizes, views, checksums, provenance), its weights, and model.onnx: uint8
images in, probabilities out, checked against PyTorch on real images. --set must not contradict the training.

\b
  python -m stages.export --out my_bundle
  python -m stages.predict --images photos --bundle my_bundle
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cache.reader import read_images
from pipeline.config.params import read_params
from pipeline.runtime.run_record import params_used
from stages._bundle_extras import bundle_extras, provenance_of
from stages._classifier import read_bundle
from stages._cli import DATA, PARAMS, Data, Debug, Job, Overrides, Values, description, make_app
from stages._process import running
from stages._views import VIEWS_HELP, choose_views, views_of_flag

app = make_app()
CHECKED = 64  # images on which ONNX and PyTorch are compared


@app.command(help=description())
def main(
    out: Annotated[Path, typer.Option(help="folder to write")] = Path("bundle"),
    views: Annotated[str | None, typer.Option("--views", help=VIEWS_HELP)] = None,
    params: Values = PARAMS,
    override: Overrides = None,
    data: Data = DATA,
    debug: Debug = False,
) -> None:
    """Compose, export, check, write."""
    with running("export", debug):
        from pipeline.inference.bundle import save_bundle
        from pipeline.inference.onnx_export import checked_onnx
        from pipeline.inference.restore import asked_values

        job = Job("export", read_params(params, override or []), data, out, quiet=True)
        bundle = read_bundle(job, None, asked_values(job.params.sections, override or []))
        bundle = replace(bundle, views=choose_views(job, bundle.classifier, views_of_flag(job, views)))
        path = next(iter(sorted((data / "prepare").glob("*.h5"))), None)
        images = read_images(path).images[:CHECKED] if path else np.empty((0, bundle.size, bundle.size, 3), np.uint8)
        onnx, checked = checked_onnx(bundle, images)
        used = params_used(data.absolute(), job.params)
        save_bundle(out, bundle, onnx, provenance_of(used), bundle_extras(job, used, bundle, onnx is not None))
        size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
        averaged = f", averaged over {', '.join(bundle.views)}" if bundle.views else ""
        typer.echo(f"export: {len(bundle.classes)} classes, {size:.1f} MB in {out}{averaged}; {checked}")


if __name__ == "__main__":
    app()
