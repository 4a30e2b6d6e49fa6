"""Pack the classifier into one folder that predicts on any machine without this project's data.

Writes bundle.json (classes, preprocessing, sizes, checksums, provenance), backbone.safetensors, head.safetensors,
classifier.json, and model.onnx: uint8 images in, probabilities out, checked against PyTorch on real images.
\b
  python -m stages.export --out my_bundle
  python -m stages.predict --images photos --bundle my_bundle
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cache.reader import read_images
from pipeline.config.params import read_params
from pipeline.runtime.provenance import git_revision, package_versions, plain_values
from stages._cli import DATA, PARAMS, Data, Debug, Job, Overrides, Values, description, make_app
from stages._process import running

app = make_app()
CHECKED = 64  # images on which ONNX and PyTorch are compared


@app.command(help=description())
def main(
    out: Annotated[Path, typer.Option(help="folder to write")] = Path("bundle"),
    params: Values = PARAMS,
    override: Overrides = None,
    data: Data = DATA,
    debug: Debug = False,
) -> None:
    """Compose, export, check, write."""
    with running("export", debug):
        from pipeline.inference.bundle import compose_bundle, save_bundle
        from pipeline.inference.onnx_export import largest_difference, to_onnx

        job = Job("export", read_params(params, override or []), data, out, quiet=True)
        size, config = job.params.prepare.size, job.params.featurize
        bundle = compose_bundle(size, config, job.classifier_folder)
        onnx = to_onnx(bundle)
        path = next(iter(sorted((data / "prepare").glob("*.h5"))), None)
        images = read_images(path).images[:CHECKED] if path else np.empty((0, bundle.size, bundle.size, 3), np.uint8)
        difference = largest_difference(bundle, onnx, images)
        made_by = {"revision": git_revision(), "versions": dict(package_versions())}
        save_bundle(out, bundle, onnx, {**made_by, "params": plain_values(job.params.sections)})
        checked = f"ONNX and PyTorch differ by at most {difference:.1e} on {len(images)} images"
        megabytes = sum(file.stat().st_size for file in out.iterdir()) / 1e6
        typer.echo(f"export: {len(bundle.classes)} classes, {megabytes:.1f} MB in {out}; {checked}")


if __name__ == "__main__":
    app()
