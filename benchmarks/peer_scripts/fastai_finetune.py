"""fastai's own way: `vision_learner` and `fine_tune`, with its usual augmentation."""

import torch
from common import accuracy, freeze_norms, network, read_options, report
from fastai.callback.core import Callback
from fastai.vision.all import (
    CrossEntropyLossFlat,
    ImageDataLoaders,
    Learner,
    Normalize,
    Resize,
    aug_transforms,
    get_image_files,
    params,
)


class FrozenNorms(Callback):
    """Batch norms stay in evaluation mode."""

    def before_train(self) -> None:
        freeze_norms(self.learn.model)


def body_and_head(model: torch.nn.Module) -> list[list[torch.nn.Parameter]]:
    head = model.get_classifier()
    own = {id(parameter) for parameter in head.parameters()}
    return [[parameter for parameter in params(model) if id(parameter) not in own], params(head)]


def main() -> None:
    options = read_options()
    loaders = ImageDataLoaders.from_folder(
        options.train,
        valid_pct=0.1,
        seed=0,
        item_tfms=Resize(options.size),
        batch_tfms=[*aug_transforms(do_flip=options.flip), Normalize.from_stats(options.mean, options.std)],
        bs=32,
        num_workers=1,
    )
    model = network(options, len(loaders.vocab))
    learner = Learner(loaders, model, CrossEntropyLossFlat(), splitter=body_and_head, cbs=[FrozenNorms()])
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(options.epochs)
        files = get_image_files(options.test)
        probabilities, _ = learner.get_preds(dl=loaders.test_dl(files))
    classes = list(loaders.vocab)
    share = accuracy(probabilities.argmax(1), [classes.index(file.parent.name) for file in files])
    report(options, f"fastai fine_tune, {options.epochs} epochs", share)


if __name__ == "__main__":
    main()
