"""The supervised training of a full model on a staged schedule: what a step moves, and one epoch after another."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn

from cache.errors import InputError, ParamsError
from cache.records import UNAUGMENTED
from pipeline.config.recipe import Recipe
from pipeline.config.shared.schedule import epochs_of
from pipeline.networks.adversarial import Attack, perturb, sharing_weights
from pipeline.networks.resize import resized
from pipeline.runtime.checkpoint import Checkpoint
from pipeline.runtime.seeds import derived_seed, make_generator
from pipeline.training.batches import ImageBatches
from pipeline.training.optim import make_optimizer, make_scheduler
from pipeline.training.transforms import Augmenter, mix

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
EVALUATION_ROWS = 500
SWA_ANNEALING = 5  # epochs over which the learning rate moves to SWA's own (Izmailov et al., by swa_utils)
COUNTED = ("epoch", "step", "lr", "curves", "best", "best_epoch")
SAVED = ("network", "auxiliary", "optimizer", "scheduler", "swa_scheduler", "average", "scaler")


@dataclass(frozen=True)
class Plan:
    """All that decides a training besides the images. size: side of the network's input in pixels."""

    recipe: Recipe
    seed: int
    classes: int
    mean: Tensor  # [3], of 0..255
    deviation: Tensor
    size: int
    engine: str


class Training:
    """All that a step moves, so all that a checkpoint holds."""

    def __init__(self, network: nn.Module, plan: Plan, steps: list[int]) -> None:
        recipe = plan.recipe
        self.network = network
        device = plan.mean.device
        separate = recipe.adversary is not None and recipe.adversary.norms == "separate"
        if separate and not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
            raise ParamsError("norms: separate needs a network with batch norms", where="recipe adversary")
        self.auxiliary = sharing_weights(network) if separate else None
        everything = [network] if self.auxiliary is None else [network, self.auxiliary]
        self.optimizer = make_optimizer(list(nn.ModuleList(everything).parameters()), recipe)
        self.scheduler = make_scheduler(self.optimizer, recipe, sum(steps), sum(steps) / len(steps))
        self.swa_from = len(steps) if recipe.swa is None else min(len(steps) - 1, round(recipe.swa.start * len(steps)))
        self.swa_scheduler: Any = None
        self.average: AveragedModel | None = None
        if recipe.swa is not None:
            self.average = AveragedModel(network)
        elif recipe.ema:
            self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16")
        self.epoch = self.step = 0
        self.lr = 0.0  # at the beginning of this epoch
        self.sums = torch.zeros(3, device=device)  # of this epoch: loss, right answers, examples
        self.curves: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0

    def state(self) -> dict[str, Any]:
        """Tensors and plain values from which `restore` goes on bit for bit."""
        parts = {name: getattr(self, name) for name in SAVED}
        found = {name: part.state_dict() for name, part in parts.items() if part is not None}
        return found | {name: getattr(self, name) for name in (*COUNTED, "sums")}

    def restore(self, state: dict[str, Any], swa: Callable[[], Any]) -> None:
        """Go back to a `state`. swa: makes SWA's scheduler, where the state is beyond its start."""
        self.swa_scheduler = swa() if "swa_scheduler" in state else None
        for name in SAVED:
            if name in state:
                getattr(self, name).load_state_dict(state[name])
        self.sums = state["sums"].to(self.sums.device)
        for name in COUNTED:
            setattr(self, name, state[name])


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

    def run(self, network: nn.Module) -> Training:
        """Train, or go on from the checkpoint. Raises InputError where the loss is not finite."""
        variants = list(epochs_of(self.plan.recipe.schedule))
        steps = [self._steps(self.train[variant]) for variant in variants]
        training = Training(network, self.plan, steps)
        self.predict = self._runner(training.network)
        self.attacked = self.predict if training.auxiliary is None else self._runner(training.auxiliary)
        if state := self.checkpoint.load():
            training.restore(state, lambda: self._swa_scheduler(training, steps))
        done = [len(self.train[variant]) for variant in variants[: training.epoch]]
        self.advance(sum(done) + training.step * self.plan.recipe.batch)
        self.saved = time.monotonic()
        for epoch in range(training.epoch, len(variants)):
            if self._stops(training):
                break
            if epoch >= training.swa_from and training.swa_scheduler is None:
                training.swa_scheduler = self._swa_scheduler(training, steps)
            self._epoch(training, variants[epoch])
        if self.plan.recipe.swa is not None and training.average is not None:
            update_bn(self._normalised_batches(variants[-1]), training.average, self.plan.mean.device)
        self.checkpoint.save(training.state())
        return training

    def _swa_scheduler(self, training: Training, steps: list[int]) -> Any:
        swa = self.plan.recipe.swa
        annealing = max(1, round(SWA_ANNEALING * sum(steps) / len(steps)))
        return SWALR(training.optimizer, swa.lr if swa else 0.0, anneal_epochs=annealing)

    def _stops(self, training: Training) -> bool:
        patience = self.plan.recipe.patience
        return patience is not None and training.epoch - training.best_epoch >= patience and bool(training.best_epoch)

    def _epoch(self, training: Training, variant: str) -> None:
        rows = self.train[variant]
        order = self._order(rows, training.epoch)
        first, steps = training.step, self._steps(rows)
        training.lr = training.lr if first else training.optimizer.param_groups[0]["lr"]
        for images, labels in itertools.islice(rows.batches(order, len(rows) // steps, first), steps - first):
            self._take_step(training, images, labels)
            self.advance(len(labels))
            if time.monotonic() - self.saved > self.checkpoint_seconds:
                self.checkpoint.save(training.state())
                self.saved = time.monotonic()
        loss, right, count = training.sums.tolist()
        if not loss < float("inf"):
            remedy = "Lower the recipe's lr."
            raise InputError("training diverged: the loss is not finite", where="train_model", remedy=remedy)
        curve = {"epoch": training.epoch + 1, "variant": variant, "lr": training.lr}
        curve |= {"train_loss": loss / count, "train_accuracy": right / count}
        if training.average is not None and training.epoch >= training.swa_from:
            training.average.update_parameters(training.network)
        self._end_epoch(training, curve)

    def _steps(self, rows: ImageBatches) -> int:
        """Of an epoch, in batches of one size, the recipe's at most; fewer images than steps are left over."""
        return -(-len(rows) // self.plan.recipe.batch)

    def _order(self, rows: ImageBatches, epoch: int) -> Any:
        generator = make_generator("train_model", self.plan.seed, epoch)
        return rows.order(generator, self.plan.recipe.sampling == "balanced")

    def _take_step(self, training: Training, images: Tensor, labels: Tensor) -> None:
        """One batch; all chance comes from the seed and the number of the step."""
        plan, recipe = self.plan, self.plan.recipe
        seed = derived_seed("train_model", plan.seed, training.epoch, training.step) % 2**63
        torch.manual_seed(seed)  # inside fork_rng: dropout, and torchvision's mixing
        drawn = derived_seed("augmentation", seed)
        pixels = Augmenter(recipe.augmentation, drawn, plan.mean.device)(images, plan.mean)
        pixels, targets = mix(resized(pixels, plan.size), labels, plan.classes, recipe.augmentation, seed)
        moved = self._attack(training, pixels, targets, seed) if recipe.adversary else None
        for part in (training.network, training.auxiliary):
            if part is not None:
                part.train()
        with self._autocast():
            logits = self.predict(pixels)
            loss = functional.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
            if moved is not None:
                attacked = self.attacked(moved).float()
                loss = (loss + functional.cross_entropy(attacked, targets, label_smoothing=recipe.label_smoothing)) / 2
        self._update(training, loss)
        right = (logits.argmax(dim=1) == labels).sum()
        training.sums += torch.stack([loss.detach() * len(labels), right, torch.tensor(len(labels)).to(right)])

    def _attack(self, training: Training, pixels: Tensor, targets: Tensor, seed: int) -> Tensor:
        """With norms of their own in training mode, as AdvProp has it; with shared ones their averages stay unmoved."""
        config = self.plan.recipe.adversary
        assert config is not None  # noqa: S101 - for the type checker
        attack = Attack(config.eps, config.step, config.steps)
        network = training.network if training.auxiliary is None else training.auxiliary
        network.train(training.auxiliary is not None)
        generator = torch.Generator(pixels.device).manual_seed(derived_seed("attack", seed) % 2**63)
        goal = targets.double() if targets.is_floating_point() else targets
        with self._autocast(wide=True):  # float16's small gradients would vanish without a scaler
            return perturb(self.attacked, pixels, goal, attack, generator)

    def _update(self, training: Training, loss: Tensor) -> None:
        training.optimizer.zero_grad()
        training.scaler.scale(loss).backward()
        if self.plan.recipe.clip is not None:
            training.scaler.unscale_(training.optimizer)
            moved = [one for group in training.optimizer.param_groups for one in group["params"]]
            nn.utils.clip_grad_norm_(moved, self.plan.recipe.clip)
        training.scaler.step(training.optimizer)
        training.scaler.update()
        (training.swa_scheduler or training.scheduler).step()
        training.step += 1
        if self.plan.recipe.ema and training.average is not None and self.plan.recipe.swa is None:
            training.average.update_parameters(training.network)

    def _autocast(self, wide: bool = False) -> Any:
        precision = PRECISIONS[self.plan.recipe.precision]
        chosen = torch.bfloat16 if wide and precision == torch.float16 else precision
        return torch.autocast(self.plan.mean.device.type, chosen, enabled=precision != torch.float32)

    def _runner(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        """Pixels 0..255 to logits, normalised by the training set."""
        run: Any = torch.compile(network, dynamic=False) if self.plan.engine == "compile" else network
        return lambda pixels: run(self._normalised(pixels))

    def _normalised_batches(self, variant: str) -> Iterator[Tensor]:
        """Augmented training images as the network sees them, once; batch norms' statistics come from these."""
        plan, rows = self.plan, self.train[variant]
        steps = self._steps(rows)
        batches = rows.batches(self._order(rows, -1), len(rows) // steps)
        for number, (images, _) in enumerate(itertools.islice(batches, steps)):
            seed = derived_seed("train_model", plan.seed, "statistics", number)
            torch.manual_seed(seed % 2**63)  # inside fork_rng: dropout
            pixels = Augmenter(plan.recipe.augmentation, seed, plan.mean.device)(images, plan.mean)
            yield self._normalised(resized(pixels, plan.size))

    def _normalised(self, pixels: Tensor) -> Tensor:
        """Pixels 0..255 by the training set's mean and deviation."""
        mean, deviation = (each.view(1, 3, 1, 1) for each in (self.plan.mean, self.plan.deviation))
        return (pixels - mean) / deviation

    def _end_epoch(self, training: Training, curve: dict[str, Any]) -> None:
        """Measure on val, keep the best weights, move to the next epoch."""
        judge = training.network if training.average is None or self.plan.recipe.swa else training.average.module
        for name, held_out in self.val.items():
            loss, accuracy = self.measure(judge, held_out)
            if name == UNAUGMENTED:
                curve |= {"val_loss": loss, "val_accuracy": accuracy}
            else:
                curve[f"val_accuracy_{name}"] = accuracy
        training.curves.append(curve)
        training.epoch, training.step = training.epoch + 1, 0
        training.sums.zero_()
        best = max(training.curves, key=lambda row: (row.get("val_accuracy", row["epoch"]), -row.get("val_loss", 0.0)))
        if best is curve:
            training.best = {name: tensor.detach().clone() for name, tensor in judge.state_dict().items()}
            training.best_epoch = training.epoch
        self.log(curve)

    def measure(self, network: nn.Module, rows: ImageBatches) -> tuple[float, float]:
        """Mean cross entropy and accuracy over all images."""
        return judged(self.logits(network, rows), rows.labels)

    def logits(self, network: nn.Module, rows: ImageBatches) -> Tensor:
        """[n, c] in evaluation mode, always eager and float32."""
        network.eval()
        found = []
        with torch.inference_mode():
            for images, _ in rows.batches(torch.arange(len(rows)).numpy(), EVALUATION_ROWS):
                pixels = resized(images.permute(0, 3, 1, 2).float(), self.plan.size)
                found.append(network(self._normalised(pixels)).float())
        return torch.cat(found)


def judged(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean cross entropy and accuracy of logits [n, c]."""
    loss = functional.cross_entropy(logits, labels)
    return float(loss), float((logits.argmax(dim=1) == labels).double().mean())
