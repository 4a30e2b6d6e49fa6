"""One epoch of training for a stack of heads, over the same batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.optim import lr_factors
from pipeline.heads.sets import Rows, Standardizer
from pipeline.heads.stack import HeadStack, cross_entropies, logits_of
from pipeline.runtime.devices import choose_device, settled_precision


@dataclass
class StackTrainer:
    """What all heads of a pass share: rows by variant, folds int [n] of them, and batches in one order.

    steps: of every step of the schedule, the factor of a head's learning rate, and the momentum; taken: how many of
    them were taken.
    """

    rows: Mapping[str, Rows]
    folds: Tensor | None
    standardizer: Standardizer
    config: TrainHeadConfig
    steps: Sequence[tuple[float, float]]
    generator: torch.Generator
    taken: int = 0

    def epoch(self, stack: HeadStack, variant: str) -> tuple[Tensor, Tensor]:
        """Train every head of the stack once over its rows of this epoch; their mean losses and accuracies [H].

        A head that does not train on the variant sees as many unaugmented rows, the same ones if both hold the same
        images.
        """
        names = [spec.trains_on(variant) for spec in stack.specs]
        distinct = list(dict.fromkeys(names))
        device = self.standardizer.mean.device
        of_head = torch.tensor([distinct.index(name) for name in names], device=device)
        total, right = torch.zeros(2, len(stack), device=device)
        count = len(self.rows[variant].labels)
        orders = self._orders([variant, *distinct], count)
        for batch in range(-(-count // self.config.batch)):
            places = [orders[len(self.rows[name].labels)][batch] for name in distinct]
            inputs, labels = self._inputs([self.rows[name] for name in distinct], places)
            if len(distinct) > 1:  # rows for each head rather than heads for each row: weights are never copied
                inputs = inputs[of_head]
                labels = labels[of_head]
            losses, hits = self._losses(stack, inputs, labels, places[0])
            stack.step(losses.sum(), *self.steps[self.taken])  # the gradient of the sum holds each head's own
            self.taken += 1
            total += losses.detach() * labels.shape[1]
            right += hits
        return total / count, right / count

    @cached_property
    def is_half(self) -> bool:
        """Whether products are in bfloat16."""
        return head_precision(self.config) == "bfloat16"

    def _orders(self, names: list[str], count: int) -> dict[int, tuple[Tensor, ...]]:
        """A random order of `count` rows, in batches, for each number of rows that a variant has."""
        orders = {}
        for length in dict.fromkeys(len(self.rows[name].labels) for name in names):
            drawn = torch.randperm(length, generator=self.generator)
            whole = drawn.repeat(-(-count // length))[:count]
            orders[length] = whole.to(self.standardizer.mean.device).split(self.config.batch)
        return orders

    def _inputs(self, rows: list[Rows], places: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Standardised rows [g, b, d] and their labels [g, b]."""
        pairs = list(zip(rows, places, strict=True))
        inputs = [self.standardizer(source.features.index_select(0, index)) for source, index in pairs]
        labels = [source.labels[index] for source, index in pairs]
        stacked = torch.stack(inputs) if len(inputs) > 1 else inputs[0][None]
        if self.config.input_dropout:
            stacked = functional.dropout(stacked, self.config.input_dropout)
        return stacked, torch.stack(labels)

    def _losses(self, stack: HeadStack, inputs: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Mean losses [H] and right answers [H] on inputs [1 or H, b, d] and labels, at `index` of the folds."""
        share, partner = _mixing(stack, inputs.shape[1])
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.is_half):
            logits = self._logits(stack, inputs, share, partner).float()
        log_odds = torch.log_softmax(logits, dim=2)
        smoothing = stack.columns["label_smoothing"][:, :, 0]
        losses = cross_entropies(log_odds, labels, smoothing)  # [H, b]
        if share is not None:
            mixed = cross_entropies(log_odds, labels[:, partner], smoothing)
            losses = share[..., 0] * losses + (1 - share[..., 0]) * mixed
        hits = (logits.detach().argmax(dim=2) == labels).float()
        if self.folds is None:
            return losses.mean(dim=1), hits.sum(dim=1)
        counted = (self.folds[index] != stack.columns["fold"][:, 0]).float()
        return (losses * counted).sum(dim=1) / counted.sum(dim=1).clamp_min(1), (hits * counted).sum(dim=1)

    def _logits(self, stack: HeadStack, inputs: Tensor, share: Tensor | None, partner: Tensor) -> Tensor:
        """With dropout, and mixed with partners: mixing inputs of a linear layer is mixing its outputs."""
        dropout = stack.columns["dropout"]
        drops = any(spec.dropout for spec in stack.specs)
        last = len(stack.specs[0].hidden)

        def between(outputs: Tensor, number: int) -> Tensor:
            if number == 0 and share is not None:
                outputs = share * outputs + (1 - share) * outputs.index_select(1, partner)
            if number == last:
                return outputs
            kept = functional.relu(outputs)
            return kept * (torch.rand_like(kept) >= dropout) / (1 - dropout) if drops else kept

        return logits_of(stack.tensors, inputs, between)


def head_precision(config: TrainHeadConfig) -> str:
    """What heads are trained in, with `auto` decided: a GPU's products are in TF32, which is called float32."""
    device = choose_device(config.device)
    is_left = config.precision == "auto" and device.type == "cuda"
    return "float32" if is_left else settled_precision(config.precision, device)


def lr_steps(rows: Mapping[str, Rows], config: TrainHeadConfig) -> list[tuple[float, float]]:
    """Of every step of the schedule the factor of the learning rate, and the momentum."""
    lengths = (phase.epochs * -(-len(rows[phase.variant].labels) // config.batch) for phase in config.schedule)
    return list(lr_factors(config.lr_schedule, sum(lengths)))


def _mixing(stack: HeadStack, count: int) -> tuple[Tensor | None, Tensor]:
    """Each head's share [H, 1, 1] of the row itself, and the partner of each row; None if no head mixes."""
    if not any(spec.mixup for spec in stack.specs):
        return None, torch.empty(0)
    alphas = stack.columns["mixup"]
    both = alphas.clamp_min(1e-3)
    drawn = torch.distributions.Beta(both, both, validate_args=False).sample()  # checking would wait for a GPU
    return torch.where(alphas > 0, drawn, 1.0), torch.randperm(count, device=alphas.device)
