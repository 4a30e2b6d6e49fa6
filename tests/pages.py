"""The results of a small run, with class names that try to be scripts."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from cache.records import ImageSet
from pipeline.config.params import read_params
from pipeline.report.results import RunResults
from pipeline.runtime.provenance import Provenance

EVIL = "<script>alert('x')</script>"
REVIEWED = "split,row,id,path,label,predicted,probability,label_probability"
CLASSES = ("cat", EVIL, 'a "quoted" & long name')


def images(variant: str = "unaugmented", rows: int = 6, shade: int = 0) -> ImageSet:
    pixels = np.zeros((rows, 16, 16, 3), dtype=np.uint8)
    pixels += (np.arange(rows, dtype=np.uint8) * 20 + shade)[:, None, None, None]
    ids = np.array([f"{row:064x}".encode() for row in range(rows)], dtype="S64")
    return ImageSet(pixels, np.arange(rows) % 3, ids, CLASSES, variant, {"made": variant})


def figures(top1: float) -> dict[str, float]:
    names = ("top1", "top5", "macro_f1")
    return {name + end: top1 + d for name in names for end, d in (("", 0), ("_low", -0.1), ("_high", 0.1))} | {
        "ece": 0.125,
        "n": 6,
    }


def results(**change: Any) -> RunResults:
    params = read_params(Path(__file__).parents[1] / "params.yaml", ["report.samples=3"])
    texts = {
        "prepare/manifest.json": json.dumps({"source": "digits", "unreadable": {f"{EVIL}.png": "truncated"}}),
        "train_head/metrics.json": '{"best_epoch": 2}',
        "train_model/metrics.json": '{"best_epoch": 1, "parameters": 1234}',
        "train_model/curves.csv": "epoch,variant,lr,train_accuracy,val_accuracy\n1,color_1,1,0.5,0.625\n",
        "train_head/curves.csv": (
            "epoch,variant,lr,train_loss,train_accuracy,val_loss,val_accuracy,val_accuracy_color_1\n"
            "1,unaugmented,0.1,2.0,0.25,1.5,0.5,0.4\n2,color_1,0.2,1.0,0.5,1.0,0.75,0.7\n"
        ),
        "evaluate/metrics.json": json.dumps(
            {
                "test": {"unaugmented": figures(0.75), "color_1": figures(0.5)},
                "attacked": {"clean": figures(0.75), "fgsm_eps_1": figures(0.25)},
                "corrupted": {"clean": figures(0.75), "jpeg_1": figures(0.5), "jpeg_5": figures(0.25)},
                "without_near_duplicates": {"test": figures(0.625)},
                "imbalance": {"f1_size_correlation": 0.1625},
                "classifiers": {
                    "train_head": {"used": 1, "val_accuracy": 0.75, **figures(0.75)},
                    "train_model": {"used": 0, "val_accuracy": 0.625, **figures(0.5)},
                },
                "calibration": {"temperature": 1.25, "ece": 0.125, "ece_by_chance": 0.0625, "ece_without": 0.25},
            }
        ),
        "evaluate/per_class.csv": (
            "variant,class,support,precision,recall,f1,taken_for,share,train\nunaugmented,cat,2,1.0,1.0,1.0,,0.0,3\n"
            f"unaugmented,{EVIL},4,0.5,0.25,0.333333,cat,0.75,6\ncolor_1,cat,2,0.0,0.0,0.0,,0.0,3\n"
        ),
        "evaluate/classifiers.csv": (
            "group,name,n,head,model,change,change_low,change_high\ntest,unaugmented,6,0.75,0.5,-0.25,-0.5,0.0\n"
            "attacked,fgsm_eps_1,6,0.25,0.375,0.125,-0.1,0.3\ncorrupted,jpeg_5,6,0.25,0.5,0.25,0.1,0.4\n"
        ),
        "evaluate/variants.csv": (
            "variant,class,gain,deviation\ncolor_1,,0.0125,0.004\n"
            f"color_1,cat,-0.25,\ncolor_1,{EVIL},0.125,\ncolor_1,gain,0.05,\n"
        ),
        "evaluate/confused.csv": f"actual,predicted,count,share\n{EVIL},cat,3,0.75\n",
        "evaluate/mistakes.csv": (
            f"row,id,path,actual,predicted,probability\n1,{1:064x},{EVIL}/1.jpg,{EVIL},cat,0.875\n"
        ),
        "evaluate/predictions.csv": (
            f"row,id,path,actual,predicted,probability\n0,{0:064x},cat/0.jpg,cat,cat,0.9\n"
            f"1,{1:064x},{EVIL}/1.jpg,{EVIL},cat,0.875\n"
        ),
        "evaluate/suspects.csv": (
            f"{REVIEWED}\ntrain,4,{4:064x},{EVIL}/4.jpg,{EVIL},cat,0.95,0.01\n"
            f"test,3,{3:064x},cat/3.jpg,cat,{EVIL},0.75,0.2\n"
        ),
        "evaluate/doubtful.csv": f"{REVIEWED}\ntrain,5,{5:064x},cat/5.jpg,cat,cat,0.36,0.36\n",
        "evaluate/learning_curve.csv": (
            "images_per_class,accuracy,low,high,gain,error\n5.0,0.5,0.4,0.6,,\n10.0,0.6,0.5,0.7,0.1,0.05\n"
            "20.0,0.75,0.6,0.8,0.15,0.05\n"
        ),
        "evaluate/learning_classes.csv": (
            f"name,images,half,all,gain,error\n{EVIL},20,0.5,0.8,0.3,0.12\ncat,20,0.7,0.8,0.1,0.06\n"
        ),
        "evaluate/occlusion.json": json.dumps(
            [
                {
                    **{"id": f"{2:064x}", "path": f"{EVIL}/2.jpg", "actual": EVIL, "predicted": "cat"},
                    **{"probability": 0.9, "drops": [[0.1 * row] * 7 for row in range(7)]},
                }
            ]
        ),
        "prepare/files.csv": f"id,split,row,class,path\n{0:064x},val,0,cat,cat/{EVIL}.jpg\n",
        "evaluate/confusion.csv": f"actual,predicted\n{EVIL},cat\n{EVIL},cat\ncat,cat\n",
        "evaluate/calibration.csv": "low,high,count,confidence,accuracy\n0.8,0.866667,3,0.85,0.333333\n",
        "evaluate/near_duplicates.csv": (
            "split,row,id,path,actual,train_row,train_id,train_path,train_class,cosine\n"
            f"test,2,{2:064x},copy.jpg,{EVIL},3,{3:064x},cat/3.jpg,cat,0.987654\n"
        ),
        "runs/prepare.json": '{"stage": "prepare", "seconds": 2.0, "summary": "done", "rows": {"train": 6, "val": 4}}',
        "runs/featurize.json": (
            '{"stage": "featurize", "seconds": 4, "bytes": 2500000, "summary": "<b>", "rows": 20, "cached": 15}'
        ),
        "runs/train_head.json": '{"stage": "train_head", "seconds": 30, "summary": "a head"}',
        "runs/train_model.json": '{"stage": "train_model", "seconds": 600, "params": {"seeds": 5}, "summary": "m"}',
        "runs/report.json": '{"stage": "report", "seconds": 9.9, "summary": "the last page"}',
    }
    values: dict[str, Any] = {
        **{name: getattr(params, name) for name in ("report", "evaluate", "featurize")},
        "images": {"train": images(), "val": images(), "val-color_1": images("color_1", 5, 7), "test": images()},
        "features": {},
        "texts": texts,
        "provenance": Provenance("a: 1", "abc123", ("dvc repro",), (("torch", "2.0"),), "a machine"),
    }
    return RunResults(**{**values, **change})
