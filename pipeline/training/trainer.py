"""The supervised training of a network on a staged schedule, one epoch after another."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import SWALR, update_bn

from cache.errors import InputError
from cache.records import UNAUGMENTED
from pipeline.config.shared.schedule import epochs_of
from pipeline.config.shared.stages import TRAIN_MODEL
from pipeline.metrics.best_epoch import val_rank
from pipeline.networks.adversarial import Attack, perturb
from pipeline.networks.resize import resized
from pipeline.runtime.checkpoint import Checkpoint
from pipeline.runtime.seeds import derived_seed, make_generator
from pipeline.training.arithmetic import PRECISIONS, mixed_precision
from pipeline.training.batches import ImageBatches
from pipeline.training.state import Plan, TrainingState
from pipeline.training.transforms import Augmenter, mix

EVALUATION_ROWS = 500
SWA_ANNEALING = 5  # epochs over which the learning rate moves to SWA's own (Izmailov et al., by swa_utils)


@dataclass
class Trainer:
    """A training under way: its plan, its sets by variant, and what watches it."""

    plan: Plan
    train: Mapping[str, ImageBatches]
    val: Mapping[str, ImageBatches]
    checkpoint: Checkpoint
    checkpoint_seconds: float
    advance: Callable[[int], object]
    log: Callable[[Mapping[str, Any]], object]

    def run(self, network: nn.Module) -> TrainingState:
        """Train, or resume from the checkpoint.

        Raises InputError if the loss is not finite.
        """
        variants = list(epochs_of(self.plan.recipe.schedule))
        steps = [self._steps(self.train[variant]) for variant in variants]
        training = TrainingState(network, self.plan, steps)
        self.predict = self._runner(training.network)
        self.attacked = self.predict if training.auxiliary is None else self._runner(training.auxiliary)
        if state := self.checkpoint.load():
            training.restore(state, lambda: self._swa_scheduler(training, steps))
        whole = sum(len(self.train[variant]) for variant in variants[: training.epoch])
        self.advance(whole + training.step * self.plan.recipe.batch)
        self.saved = time.monotonic()
        for epoch in range(training.epoch, len(variants)):
            if self._stops(training):
                break
            if epoch >= training.swa_from and training.swa_scheduler is None:
                training.swa_scheduler = self._swa_scheduler(training, steps)
            self._epoch(training, variants)
        if self.plan.recipe.swa is not None and training.average is not None:
            update_bn(self._normalised_batches(variants[-1]), training.average, self.plan.mean.device)
        self.checkpoint.save(training.state())
        return training

    def _swa_scheduler(self, training: TrainingState, steps: list[int]) -> Any:
        swa = self.plan.recipe.swa
        annealing = max(1, round(SWA_ANNEALING * sum(steps) / len(steps)))
        return SWALR(training.optimizer, swa.lr if swa else 0.0, anneal_epochs=annealing)

    def _stops(self, training: TrainingState) -> bool:
        patience = self.plan.recipe.patience
        return patience is not None and training.epoch - training.best_epoch >= patience and bool(training.best_epoch)

    def _epoch(self, training: TrainingState, variants: list[str]) -> None:
        variant = variants[training.epoch]
        rows = self.train[variant]
        order = self._order(rows, training.epoch)
        first = training.step
        steps = self._steps(rows)
        training.lr = training.lr if first else training.optimizer.param_groups[0]["lr"]
        for images, labels in itertools.islice(rows.batches(order, len(rows) // steps, first), steps - first):
            self._take_step(training, images, labels)
            self.advance(len(labels))
            if time.monotonic() - self.saved > self.checkpoint_seconds:
                self.checkpoint.save(training.state())
                self.saved = time.monotonic()
        loss, right, count, attacked = training.sums.tolist()
        if not loss + attacked < float("inf"):
            remedy = "Lower the recipe's lr."
            raise InputError("training diverged: the loss is not finite", where="training", remedy=remedy)
        curve = {"epoch": training.epoch + 1, "variant": variant, "lr": training.lr}
        curve |= {"train_loss": loss / count, "train_accuracy": right / count}
        if self.plan.recipe.adversary is not None:
            curve["train_loss_attacked"] = attacked / count
        if len(self.plan.sizes) > 1:
            curve["size"] = self.plan.size(training.epoch)
        if training.average is not None and training.epoch >= training.swa_from:
            training.average.update_parameters(training.network)
        self._end_epoch(training, curve)

    def _steps(self, rows: ImageBatches) -> int:
        """Of an epoch, in batches of one size, the recipe's at most; fewer images than steps are left over."""
        return -(-len(rows) // self.plan.recipe.batch)

    def _order(self, rows: ImageBatches, epoch: int) -> Any:
        generator = make_generator(TRAIN_MODEL, self.plan.seed, epoch)
        return rows.order(generator, self.plan.recipe.sampling == "balanced", epoch)

    def _take_step(self, training: TrainingState, images: Tensor, labels: Tensor) -> None:
        """One batch; all chance comes from the seed and the number of the step."""
        plan = self.plan
        recipe = plan.recipe
        seed = derived_seed(TRAIN_MODEL, plan.seed, training.epoch, training.step) % 2**63
        torch.manual_seed(seed)  # inside fork_rng: dropout, and torchvision's mixing
        drawn = derived_seed("augmentation", seed)
        size = plan.size(training.epoch)
        pixels = Augmenter(recipe.augmentation, drawn, plan.mean.device)(images, plan.mean, size)
        pixels, targets = mix(resized(pixels, size), labels, plan.classes, recipe.augmentation, seed)
        moved = self._attack(training, pixels, targets, seed) if recipe.adversary else None
        for part in (training.network, training.auxiliary):
            if part is not None:
                set_training(part, recipe.norms)
        with self._autocast():
            logits = self.predict(pixels)
            loss = functional.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
            attacked = torch.zeros_like(loss)
            if moved is not None:
                logits_attacked = self.attacked(moved).float()
                attacked = functional.cross_entropy(logits_attacked, targets, label_smoothing=recipe.label_smoothing)
        self._update(training, loss if moved is None else (loss + attacked) / 2)
        right = (logits.argmax(dim=1) == labels).sum()
        count = torch.full_like(right, len(labels))
        training.sums += torch.stack([loss.detach() * count, right, count, attacked.detach() * count])

    def _attack(self, training: TrainingState, pixels: Tensor, targets: Tensor, seed: int) -> Tensor:
        """With norms of their own in training mode, as AdvProp has it; with shared ones their averages stay unmoved."""
        config = self.plan.recipe.adversary
        assert config is not None  # noqa: S101 - for the type checker
        attack = Attack(config.eps, config.step, config.steps)
        network = training.network if training.auxiliary is None else training.auxiliary
        if training.auxiliary is None:
            network.eval()
        else:
            set_training(network, self.plan.recipe.norms)
        generator = torch.Generator(pixels.device).manual_seed(derived_seed("attack", seed) % 2**63)
        goal = targets.double() if targets.is_floating_point() else targets
        with self._autocast(wide=True):  # float16's small gradients would vanish without a scaler
            return perturb(self.attacked, pixels, goal, attack, generator)

    def _update(self, training: TrainingState, loss: Tensor) -> None:
        training.optimizer.zero_grad()
        training.scaler.scale(loss).backward()
        if self.plan.recipe.clip is not None:
            training.scaler.unscale_(training.optimizer)
            parameters = [parameter for group in training.optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.plan.recipe.clip)
        training.scaler.step(training.optimizer)
        training.scaler.update()
        (training.swa_scheduler or training.scheduler).step()
        training.step += 1
        if self.plan.recipe.ema and training.average is not None and self.plan.recipe.swa is None:
            training.average.update_parameters(training.network)

    def _autocast(self, wide: bool = False) -> Any:
        precision = PRECISIONS[self.plan.recipe.precision]
        chosen = torch.bfloat16 if wide and precision == torch.float16 else precision
        return mixed_precision(self.plan.mean.device, chosen)

    def _runner(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        """Pixels 0..255 to logits, normalised by the training set."""
        run: Any = torch.compile(network, dynamic=False) if self.plan.engine == "compile" else network
        return lambda pixels: run(self._normalised(pixels))

    def _normalised_batches(self, variant: str) -> Iterator[Tensor]:
        """Augmented training images as the network sees them, once; batch norms' statistics come from these."""
        plan = self.plan
        rows = self.train[variant]
        steps = self._steps(rows)
        batches = rows.batches(self._order(rows, -1), len(rows) // steps)
        for number, (images, _) in enumerate(itertools.islice(batches, steps)):
            seed = derived_seed(TRAIN_MODEL, plan.seed, "statistics", number)
            torch.manual_seed(seed % 2**63)  # inside fork_rng: dropout
            size = plan.sizes[-1]
            pixels = Augmenter(plan.recipe.augmentation, seed, plan.mean.device)(images, plan.mean, size)
            yield self._normalised(resized(pixels, size))

    def _normalised(self, pixels: Tensor) -> Tensor:
        """Pixels 0..255 by the training set's mean and deviation."""
        return (pixels - self.plan.mean.view(1, 3, 1, 1)) / self.plan.deviation.view(1, 3, 1, 1)

    def _end_epoch(self, training: TrainingState, curve: dict[str, Any]) -> None:
        """Measure on val, keep the best weights, move to the next epoch."""
        averaged = training.average is not None and self.plan.recipe.swa is None
        network = training.average.module if training.average is not None and averaged else training.network
        for name, held_out in self.val.items():
            logits = self.logits(network, held_out, training.epoch)
            loss, accuracy = loss_and_accuracy(logits, held_out.labels)
            if name == UNAUGMENTED:
                curve |= {"val_loss": loss, "val_accuracy": accuracy}
            else:
                curve[f"val_accuracy_{name}"] = accuracy
        training.curves.append(curve)
        training.epoch += 1
        training.step = 0
        training.sums.zero_()
        if max(training.curves, key=_rank) is curve:  # of equals, max gives the first
            training.best = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
            training.best_epoch = training.epoch
        self.log(curve)

    def logits(self, network: nn.Module, rows: ImageBatches, epoch: int) -> Tensor:
        """[n, c] in evaluation mode at the size of an epoch, always eager and float32."""
        network.eval()
        blocks = []
        with torch.inference_mode():
            for images, _ in rows.batches(torch.arange(len(rows)).numpy(), EVALUATION_ROWS):
                pixels = resized(images.permute(0, 3, 1, 2).float(), self.plan.size(epoch))
                blocks.append(network(self._normalised(pixels)).float())
        return torch.cat(blocks)


def _rank(curve: Mapping[str, Any]) -> tuple[float, float]:
    """By val; without it the last epoch is the best."""
    return val_rank(curve.get("val_accuracy", curve["epoch"]), curve.get("val_loss", 0.0))


def set_training(network: nn.Module, norms: str) -> None:
    """Training mode; batch norms that are `frozen` keep their statistics and use them."""
    network.train()
    if norms == "frozen":
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def loss_and_accuracy(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean cross entropy and accuracy of logits [n, c]."""
    loss = functional.cross_entropy(logits, labels)
    return float(loss), float((logits.argmax(dim=1) == labels).double().mean())
