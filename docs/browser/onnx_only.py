"""A bundle's ONNX file without any of our code: python docs/browser/onnx_only.py BUNDLE PHOTO [PHOTO ...]"""

import json
import sys
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession
from PIL import Image, ImageOps

folder, *photos = map(Path, sys.argv[1:])
size = json.loads((folder / "bundle.json").read_text())["size"]
classes = json.loads((folder / "classifier.json").read_text())["classes"]
session = InferenceSession(folder / "model.onnx")
for photo in photos:
    image = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
    side = min(image.size)  # prepare.fit crop: the square in the middle
    left = (image.width - side) / 2
    top = (image.height - side) / 2
    box = (left, top, left + side, top + side)
    square = image.resize((size, size), Image.Resampling.LANCZOS, box, reducing_gap=3.0)
    (probabilities,) = session.run(["probabilities"], {"images": np.asarray(square)[None]})[0]
    print(f"{photo}: {classes[probabilities.argmax()]} {probabilities.max():.4f}")
