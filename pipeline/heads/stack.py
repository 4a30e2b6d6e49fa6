"""Many heads trained in one pass over the same batches, by batched matrix products.

Learning rate, weight decay, dropout, label smoothing, mixup, seed, fold and variants are each head's own. A pass of one
head without dropout does what `fit_head` does.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cache.records import UNAUGMENTED
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.fit import Rows
from pipeline.heads.optim import FusedOptimizer
from pipeline.networks.head import EVALUATION_ROWS, Head
from pipeline.runtime.seeds import torch_seeded

CELLS = 64_000_000  # of the largest activation, heads x rows x width


@dataclass(frozen=True)
class HeadSpec:
    """What a head has of its own.

    mixup: alpha of Beta(alpha, alpha) (Zhang et al., ICLR 2018), on features; 0: none. fold: the rows that it never
    trains on and is judged by, None: judged by val. variants: those that it trains on; in a phase of another one it
    trains on unaugmented rows, so all heads take equal steps.
    """

    hidden: tuple[int, ...]
    lr: float
    weight_decay: float
    dropout: float
    label_smoothing: float
    mixup: float = 0.0
    seed: int = 0
    fold: int | None = None
    variants: frozenset[str] | None = None

    def trains_on(self, variant: str) -> str:
        """The variant whose rows this head sees in an epoch of `variant`."""
        return variant if self.variants is None or variant in self.variants else UNAUGMENTED


@dataclass(frozen=True)
class Standardizer:
    """Mean and deviation [d] of the training features."""

    mean: Tensor
    deviation: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        return (features.float() - self.mean).div_(self.deviation)


class HeadStack:
    """H heads of one shape. tensors: weights [H, in, out] and biases [H, 1, out] of each layer, in turn.

    averages: of the same shapes, their moving averages, which are judged. own: numbers of the specs, [H, 1, 1], by
    name. Each run of heads of one learning rate and weight decay has a descent of its own, over views of the tensors.
    """

    def __init__(self, specs: Sequence[HeadSpec], tensors: Sequence[Tensor], config: TrainHeadConfig) -> None:
        self.specs, self.config = list(specs), config
        self.tensors = [tensor.detach().requires_grad_() for tensor in tensors]
        self.averages = [tensor.clone() for tensor in tensors]
        self.runs = list(_runs(self.specs))
        self.own = {name: self._column(name) for name in ("dropout", "label_smoothing", "mixup", "fold")}
        self.optimizers = [self._optimizer_of(start, end) for start, end in self.runs]
        self.started = False

    def __len__(self) -> int:
        return len(self.specs)

    def select(self, index: Sequence[int]) -> "HeadStack":
        """The chosen heads in this order of places, copied with all their state."""
        places = torch.as_tensor(list(index), dtype=torch.int64, device=self.tensors[0].device)
        tensors = [one.detach()[places] for one in self.tensors]
        chosen = HeadStack([self.specs[place] for place in index], tensors, self.config)
        chosen.averages = [one[places] for one in self.averages]
        for kind in range(len(self.optimizers[0].moments)):
            parts = zip(*(optimizer.moments[kind] for optimizer in self.optimizers), strict=True)
            moments = [torch.cat(part)[places] for part in parts]
            for optimizer, (start, end) in zip(chosen.optimizers, chosen.runs, strict=True):
                optimizer.moments[kind] = [moment[start:end] for moment in moments]
        for optimizer in chosen.optimizers:
            optimizer.steps = [step.clone() for step in self.optimizers[0].steps]
        chosen.started = self.started
        return chosen

    def step(self, loss: Tensor, factor: float, momentum: float) -> None:
        """One step for every head, at `factor` of its own learning rate."""
        gradients = torch.autograd.grad(loss, self.tensors)
        for optimizer, (start, end) in zip(self.optimizers, self.runs, strict=True):
            own = [gradient[start:end] for gradient in gradients]
            optimizer.step(own, factor * self.specs[start].lr, momentum)
        with torch.no_grad():
            for average, tensor in zip(self.averages, self.tensors, strict=True):
                average.lerp_(tensor, 1 - self.config.ema if self.started else 1.0)
        self.started = True

    def _optimizer_of(self, start: int, end: int) -> FusedOptimizer:
        """Of a run of heads."""
        tensors = [tensor[start:end] for tensor in self.tensors]
        return FusedOptimizer(tensors, self.config.optimizer, self.specs[start].weight_decay)

    def _column(self, name: str) -> Tensor:
        """One of the specs' numbers, [H, 1, 1]; -1 for none."""
        values = [getattr(spec, name) for spec in self.specs]
        column = torch.tensor([-1.0 if value is None else float(value) for value in values])
        return column.to(self.tensors[0].device)[:, None, None]


def _runs(specs: Sequence[HeadSpec]) -> Iterator[tuple[int, int]]:
    """Start and end of neighbours of one learning rate and weight decay."""
    start = 0
    for _, group in itertools.groupby(specs, key=lambda spec: (spec.lr, spec.weight_decay)):
        end = start + len(list(group))
        yield start, end
        start = end


def make_head_stack(
    specs: Sequence[HeadSpec], standardizer: Standardizer, classes: int, config: TrainHeadConfig
) -> HeadStack:
    """Heads of one shape, each initialised by its own seed as `fit_head` does it, where the norm is."""
    made = []
    for spec in specs:
        with torch_seeded("train_head", spec.seed):
            parameters = Head([len(standardizer.mean), *spec.hidden, classes], 0.0, 0.0).parameters()
            made.append([one.detach().T if one.ndim == 2 else one.detach()[None] for one in parameters])
    layers = [torch.stack(layer).contiguous().to(standardizer.mean.device) for layer in zip(*made, strict=True)]
    return HeadStack(specs, layers, config)


def logits_of(tensors: Sequence[Tensor], inputs: Tensor, between: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Logits [H, b, c] of standardised rows [b, d] or [H, b, d]; between changes what a layer gives, by its number."""
    found = inputs.expand(len(tensors[0]), -1, -1)
    for number, (weight, bias) in enumerate(zip(tensors[::2], tensors[1::2], strict=True)):
        found = between(torch.baddbmm(bias, found, weight), number)
    return found


@dataclass(frozen=True)
class StackTrainer:
    """What all heads of a pass share: rows by variant, folds int [n] of them, and batches in one order.

    pace: of each step, the factor of a head's lr and the momentum.
    """

    rows: Mapping[str, Rows]
    folds: Tensor | None
    standardizer: Standardizer
    config: TrainHeadConfig
    lr_factors_left: Iterator[tuple[float, float]]
    generator: torch.Generator

    def epoch(self, stack: HeadStack, variant: str) -> None:
        """Train every head of the stack once over its rows of this epoch.

        A head that does not train on the variant sees as many unaugmented rows, the same ones where both hold the same
        photos.
        """
        names = [spec.trains_on(variant) for spec in stack.specs]
        distinct = list(dict.fromkeys(names))
        device = self.standardizer.mean.device
        of_head = torch.tensor([distinct.index(name) for name in names], device=device)
        count = len(self.rows[variant].labels)
        orders: dict[int, tuple[Tensor, ...]] = {}
        for length in dict.fromkeys(len(self.rows[name].labels) for name in (variant, *distinct)):
            drawn = torch.randperm(length, generator=self.generator)
            orders[length] = drawn.repeat(-(-count // length))[:count].to(device).split(self.config.batch)
        for batch in range(-(-count // self.config.batch)):
            seen = [(self.rows[name], orders[len(self.rows[name].labels)][batch]) for name in distinct]
            inputs = torch.stack(
                [self.standardizer(rows.features.index_select(0, index)) for rows, index in seen]
            )  # [g, b, d]
            inputs = functional.dropout(inputs, self.config.input_dropout)
            labels = torch.stack([rows.labels[index] for rows, index in seen])
            if len(distinct) > 1:  # rows for each head rather than heads for each row: weights are never copied
                inputs, labels = inputs[of_head], labels[of_head]
            losses = self._losses(stack, inputs, labels, seen[0][1])
            stack.step(losses.sum(), *next(self.lr_factors_left))  # of the sum each head's gradient is its own

    def _losses(self, stack: HeadStack, inputs: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """Mean losses [H] on inputs [H or 1, b, d] and labels [H or 1, b], which stand at `index` of the folds."""
        dropout, drops = stack.own["dropout"], any(spec.dropout for spec in stack.specs)
        share, partner = _mixing(stack, inputs.shape[1])

        def between(found: Tensor, number: int) -> Tensor:
            if number == 0 and share is not None:  # mixing inputs of a linear layer is mixing its outputs
                found = share * found + (1 - share) * found[:, partner]
            if number == len(stack.specs[0].hidden):
                return found
            kept = functional.relu(found)
            return kept * (torch.rand_like(kept) >= dropout) / (1 - dropout) if drops else kept

        log_odds = torch.log_softmax(logits_of(stack.tensors, inputs, between), dim=2)
        smoothing = stack.own["label_smoothing"][:, :, 0]
        losses = _cross_entropy(log_odds, labels, smoothing)  # [H, b]
        if share is not None:
            mixed = _cross_entropy(log_odds, labels[:, partner], smoothing)
            losses = share[..., 0] * losses + (1 - share[..., 0]) * mixed
        if self.folds is None:
            return losses.mean(dim=1)
        counted = (self.folds[index] != stack.own["fold"][:, 0]).float()
        return (losses * counted).sum(dim=1) / counted.sum(dim=1).clamp_min(1)


def _mixing(stack: HeadStack, count: int) -> tuple[Tensor | None, Tensor]:
    """Each head's share [h, 1, 1] of the row itself, and the partner of each row; None where no head mixes."""
    if not any(spec.mixup for spec in stack.specs):
        return None, torch.empty(0)
    alphas = stack.own["mixup"]
    both = alphas.clamp_min(1e-3)
    drawn = torch.distributions.Beta(both, both, validate_args=False).sample()  # checking would wait for a GPU
    return torch.where(alphas > 0, drawn, 1.0), torch.randperm(count, device=alphas.device)


def _cross_entropy(log_odds: Tensor, labels: Tensor, smoothing: Tensor) -> Tensor:
    """[H, b], with each head's label smoothing [H, 1]."""
    right = -log_odds.gather(2, labels.expand(len(log_odds), -1)[..., None])[..., 0]
    return (1 - smoothing) * right - smoothing * log_odds.mean(dim=2)


def judge(
    stack: HeadStack, rows: Rows, standardizer: Standardizer, folds: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Accuracy and mean cross entropy, float [H] on the CPU, of the averaged heads on all rows, or each on its fold."""
    device = standardizer.mean.device
    right, loss, count = torch.zeros(3, len(stack), device=device)
    one = torch.ones(1, device=device)
    step = max(1, min(EVALUATION_ROWS, CELLS // (len(stack) * max(one.shape[2] for one in stack.tensors))))
    last = len(stack.specs[0].hidden)
    with torch.inference_mode():
        for start in range(0, len(rows.labels), step):
            labels = rows.labels[start : start + step]
            inputs = standardizer(rows.features[start : start + step])
            found = logits_of(stack.averages, inputs, lambda out, number: out if number == last else out.relu())
            counted = one if folds is None else (folds[start : start + step] == stack.own["fold"][:, 0]).float()
            losses = _cross_entropy(torch.log_softmax(found, dim=2), labels, 0 * one)
            right += ((found.argmax(dim=2) == labels) * counted).sum(dim=1)
            loss += (losses * counted).sum(dim=1)
            count += counted.expand_as(losses).sum(dim=1)
    return (right / count.clamp_min(1)).cpu(), (loss / count.clamp_min(1)).cpu()


def head_of(tensors: Sequence[Tensor], place: int, standardizer: Standardizer) -> Head:
    """One head on its own, on the CPU, ready to predict."""
    own = [tensor[place].cpu() for tensor in tensors]
    head = Head([len(standardizer.mean), *(bias.shape[1] for bias in own[1::2])], 0.0, 0.0)
    head.mean.copy_(standardizer.mean)
    head.deviation.copy_(standardizer.deviation)
    linear = [module for module in head.layers if isinstance(module, torch.nn.Linear)]
    with torch.no_grad():
        for module, weight, bias in zip(linear, own[::2], own[1::2], strict=True):
            module.weight.copy_(weight.T)
            module.bias.copy_(bias[0])
    return head.eval()
