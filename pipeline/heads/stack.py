"""Many heads of one shape, computed together by batched matrix products.

Learning rate, weight decay, dropout, label smoothing, mixup, seed, fold and variants are each head's own.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from pipeline.config.shared.stages import TRAIN_HEAD
from pipeline.config.train_head import TrainHeadConfig
from pipeline.heads.optim import FusedOptimizer
from pipeline.heads.sets import Rows, Standardizer
from pipeline.heads.spec import HeadSpec
from pipeline.networks.head import EVALUATION_ROWS, Head
from pipeline.runtime.seeds import torch_seeded

CELLS = 64_000_000  # of the largest activation, heads x rows x width


class HeadStack:
    """H heads of one shape. tensors: weights [H, in, out] and biases [H, 1, out] of each layer, in turn.

    averages: of the same shapes, their moving averages, which are evaluated. columns: numbers of the specs,
    [H, 1, 1], by name. Each run of heads of one learning rate and weight decay has an optimizer of its own, over views
    of the tensors.
    """

    def __init__(self, specs: Sequence[HeadSpec], tensors: Sequence[Tensor], config: TrainHeadConfig) -> None:
        self.specs = list(specs)
        self.config = config
        self.tensors = [tensor.detach().requires_grad_() for tensor in tensors]
        self.averages = [tensor.clone() for tensor in tensors]
        self.runs = list(_runs(self.specs))
        self.columns = {name: self._column(name) for name in ("dropout", "label_smoothing", "mixup", "fold")}
        self.optimizers = [self._optimizer_of(start, end) for start, end in self.runs]
        self.started = False

    def __len__(self) -> int:
        return len(self.specs)

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits [H, b, c] of the averaged heads, of standardised rows [b, d]."""
        last = len(self.specs[0].hidden)
        return logits_of(self.averages, inputs, lambda outputs, number: outputs if number == last else outputs.relu())

    def select(self, index: Sequence[int]) -> "HeadStack":
        """The heads at these places, in this order, copied with all their state."""
        places = torch.as_tensor(list(index), dtype=torch.int64, device=self.tensors[0].device)
        tensors = [tensor.detach()[places] for tensor in self.tensors]
        chosen = HeadStack([self.specs[place] for place in index], tensors, self.config)
        chosen.averages = [average[places] for average in self.averages]
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
        """The optimizer of a run of heads."""
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
    """Heads of one shape, each initialised by its own seed, on the standardizer's device."""
    seeds = list(dict.fromkeys(spec.seed for spec in specs))
    initial = []
    for seed in seeds:  # heads of a grid share theirs: drawn once, copied on the device
        with torch_seeded(TRAIN_HEAD, seed):
            parameters = Head([len(standardizer.mean), *specs[0].hidden, classes], 0.0, 0.0).parameters()
            tensors = [parameter.detach() for parameter in parameters]
            initial.append([tensor.T if tensor.ndim == 2 else tensor[None] for tensor in tensors])
    device = standardizer.mean.device
    places = torch.tensor([seeds.index(spec.seed) for spec in specs], device=device)
    layers = [torch.stack(layer).to(device).index_select(0, places) for layer in zip(*initial, strict=True)]
    return HeadStack(specs, [layer.contiguous() for layer in layers], config)


def logits_of(tensors: Sequence[Tensor], inputs: Tensor, between: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Logits [H, b, c] of standardised rows [1 or H, b, d]; between: what happens to outputs of a layer, by number."""
    outputs = inputs.expand(len(tensors[0]), -1, -1)
    for number, (weight, bias) in enumerate(zip(tensors[::2], tensors[1::2], strict=True)):
        outputs = between(torch.baddbmm(bias, outputs, weight), number)
    return outputs


def evaluate_stack(
    stack: HeadStack, rows: Rows, standardizer: Standardizer, folds: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Accuracy and mean cross entropy, float [H] on the CPU, of the averaged heads on all rows, or each on its fold."""
    right, loss, count = torch.zeros(3, len(stack), device=standardizer.mean.device)
    everyone = torch.ones(1, device=standardizer.mean.device)
    widest = max(tensor.shape[2] for tensor in stack.tensors)
    step = max(1, min(EVALUATION_ROWS, CELLS // (len(stack) * widest)))
    with torch.inference_mode():
        for start in range(0, len(rows.labels), step):
            labels = rows.labels[start : start + step]
            logits = stack.logits(standardizer(rows.features[start : start + step]))
            counted = everyone
            if folds is not None:
                counted = (folds[start : start + step] == stack.columns["fold"][:, 0]).float()
            losses = cross_entropies(torch.log_softmax(logits, dim=2), labels, torch.zeros_like(everyone))
            right += ((logits.argmax(dim=2) == labels) * counted).sum(dim=1)
            loss += (losses * counted).sum(dim=1)
            count += counted.expand_as(losses).sum(dim=1)
    return (right / count.clamp_min(1)).cpu(), (loss / count.clamp_min(1)).cpu()


def cross_entropies(log_odds: Tensor, labels: Tensor, smoothing: Tensor) -> Tensor:
    """[H, b] of log probabilities [H, b, c] and labels [1 or H, b], with each head's label smoothing [H, 1]."""
    right = -log_odds.gather(2, labels.expand(len(log_odds), -1)[..., None])[..., 0]
    return (1 - smoothing) * right - smoothing * log_odds.mean(dim=2)


def head_of(tensors: Sequence[Tensor], place: int, standardizer: Standardizer) -> Head:
    """One head on its own, on the CPU, ready to predict."""
    own = [tensor[place].cpu() for tensor in tensors]
    head = Head([len(standardizer.mean), *(bias.shape[1] for bias in own[1::2])], 0.0, 0.0)
    head.mean.copy_(standardizer.mean)
    head.deviation.copy_(standardizer.scale)
    linear = [module for module in head.layers if isinstance(module, torch.nn.Linear)]
    with torch.no_grad():
        for module, weight, bias in zip(linear, own[::2], own[1::2], strict=True):
            module.weight.copy_(weight.T)
            module.bias.copy_(bias[0])
    return head.eval()
