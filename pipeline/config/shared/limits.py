"""How many images are measured at most, where measuring all of a very large set would take longer than training."""

COMPARED_IMAGES = 10_000  # of a held-out split, each of which is compared with every training image
GAIN_IMAGES = 50_000  # of train, on which heads with and without a variant are trained
