"""One step of a GAN's training: one network per class side by side, or one network over all classes."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cache.layout import Array
from pipeline.config.gan import ConvGanConfig, WganConfig
from pipeline.config.shared.stages import GAN
from pipeline.gan.conv_gan import ConvCritic, ConvGenerator
from pipeline.gan.diff_augment import augment_alike
from pipeline.gan.wgan import ParallelCritic, ParallelGenerator
from pipeline.runtime.devices import to_device
from pipeline.runtime.seeds import derived_seed, make_generator, torch_seeded

BETAS = (0.0, 0.9)  # of Adam, as in spectral normalisation (Miyato et al., ICLR 2018)


@dataclass(frozen=True)
class RealImages:
    """Training images of some classes: float [n, 3, s, s] in -1..1, and the rows of each class."""

    images: Tensor
    rows: Sequence[Array]
    names: Sequence[str]

    @property
    def size(self) -> int:
        """Side in pixels."""
        return self.images.shape[2]


class Learner(Protocol):
    """A generator and a critic in training. Classes are numbered as in the RealImages that it was made with."""

    def step(self, iteration: int) -> Tensor:
        """One step of the generator after those of the critic; losses [2, k] of critic and generator by class."""
        ...

    def sample(self, noise: Tensor) -> Tensor:
        """Images [k, b, 3, s, s] in -1..1, of each class from its own noise [k, b, latent]."""
        ...

    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


class ParallelLearner:
    """Report 001's: one linear WGAN per class. The samples of a class depend on its own images and name only."""

    def __init__(self, real: RealImages, config: WganConfig, seed: int) -> None:
        self.real = real
        self.config = config
        self.seed = seed
        own = [make_generator(GAN, seed, name, "weights") for name in real.names]
        device = real.images.device
        self.generator = ParallelGenerator(own, config.latent, config.hidden, real.size).to(device)
        self.critic = ParallelCritic(own, config.critic_hidden, real.size).to(device)
        self.flat = real.images.flatten(1)
        networks = (self.generator, self.critic)
        self.optimizers = [torch.optim.RMSprop(network.parameters(), config.lr) for network in networks]

    def step(self, iteration: int) -> Tensor:
        """See Learner."""
        losses = []
        for number, (index, noise) in enumerate(self._draw(iteration)):
            if number < self.config.critic_steps:
                with torch.no_grad():
                    generated = self.generator(noise)
                losses = [self._step_critic(self.flat[index], generated)]
            else:
                loss = -self.critic(self.generator(noise)).mean(dim=1)  # [k]
                self._step(0, loss)
                losses.append(loss.detach())
        return torch.stack(losses)

    def _step_critic(self, real: Tensor, generated: Tensor) -> Tensor:
        loss: Tensor = self.critic(generated).mean(dim=1) - self.critic(real).mean(dim=1)  # [k]
        self._step(1, loss)
        with torch.no_grad():
            for tensor in self.critic.parameters():
                tensor.clamp_(-self.config.clip, self.config.clip)
        return loss.detach()

    def _step(self, network: int, loss: Tensor) -> None:
        """Classes share no weights, so the gradient of the sum holds that of each class."""
        self.optimizers[network].zero_grad()
        loss.sum().backward()
        self.optimizers[network].step()

    def _draw(self, iteration: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows [k, b] and noise [k, b, latent] of each part of an iteration; each class has a generator of its own."""
        config = self.config
        parts = range(config.critic_steps + 1)
        index = np.empty((len(parts), len(self.real.names), config.batch), dtype=np.int64)
        noise = np.empty((*index.shape, config.latent), dtype=np.float32)
        for part, (number, name) in itertools.product(parts, enumerate(self.real.names)):
            random = make_generator(GAN, self.seed, name, iteration, part)
            rows = self.real.rows[number]
            index[part, number] = rows[random.integers(len(rows), size=config.batch)]
            noise[part, number] = random.standard_normal((config.batch, config.latent), dtype=np.float32)
        device = self.real.images.device
        both = (to_device(torch.from_numpy(drawn), device) for drawn in (index, noise))
        return zip(*both, strict=True)

    def sample(self, noise: Tensor) -> Tensor:
        """See Learner."""
        self.generator.eval()
        with torch.no_grad():
            images: Tensor = self.generator(noise)
        self.generator.train()
        return images.view(*noise.shape[:2], 3, self.real.size, self.real.size)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values that `restore` takes."""
        return _state_of([self.generator, self.critic], self.optimizers)

    def restore(self, state: dict[str, Any]) -> None:
        """Return to an earlier `state`."""
        _restore([self.generator, self.critic], self.optimizers, state)


class ConvLearner:
    """One class-conditional convolutional GAN over all classes, by the hinge loss; samples come from its average."""

    def __init__(self, real: RealImages, config: ConvGanConfig, seed: int) -> None:
        self.real = real
        self.config = config
        self.seed = seed
        device = real.images.device
        classes = len(real.names)
        with torch_seeded(GAN, seed, "weights"):
            generator = ConvGenerator(classes, config.latent, config.width, real.size)
            critic = ConvCritic(classes, config.width, real.size)
        self.generator = generator.to(device).to(memory_format=torch.channels_last)
        self.critic = critic.to(device).to(memory_format=torch.channels_last)
        self.average = AveragedModel(self.generator, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
        rates = ((self.generator, config.lr), (self.critic, config.critic_lr))
        self.optimizers = [torch.optim.Adam(network.parameters(), lr, BETAS, fused=True) for network, lr in rates]
        self.rows = torch.from_numpy(np.concatenate(list(real.rows))).to(device)
        self.labels = torch.from_numpy(np.repeat(np.arange(classes), list(map(len, real.rows)))).to(device)

    def step(self, iteration: int) -> Tensor:
        """See Learner; the losses are of all classes together, so [2, 1]."""
        losses = torch.zeros(2, 1, device=self.rows.device)
        for number in range(self.config.critic_steps + 1):
            random = torch.Generator(self.rows.device)
            random.manual_seed(derived_seed(GAN, self.seed, iteration, number) % 2**63)
            index = torch.randint(len(self.rows), (self.config.batch,), generator=random, device=self.rows.device)
            labels = self.labels[index]
            noise = torch.randn((len(index), self.config.latent), generator=random, device=self.rows.device)
            critic = number < self.config.critic_steps
            with torch.set_grad_enabled(not critic):
                generated = self.generator(noise, labels)
            if critic:
                scores = self._score(self.real.images[self.rows[index]], labels, random)
                generated_scores = self._score(generated, labels, random)
                loss = functional.relu(1 - scores).mean() + functional.relu(1 + generated_scores).mean()
            else:
                loss = -self._score(generated, labels, random).mean()
            self.optimizers[int(critic)].zero_grad()
            loss.backward()
            self.optimizers[int(critic)].step()
            losses[int(not critic)] = loss.detach()
        self.average.update_parameters(self.generator)
        return losses

    def _score(self, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        scores: Tensor = self.critic(augment_alike(images, random) if self.config.augment else images, labels)
        return scores

    def sample(self, noise: Tensor) -> Tensor:
        """See Learner."""
        self.average.eval()
        labels = torch.arange(len(noise), device=noise.device)[:, None].expand(noise.shape[:2])
        with torch.no_grad():
            return torch.stack([self.average(own, classes) for own, classes in zip(noise, labels, strict=True)])

    def state(self) -> dict[str, Any]:
        """Tensors and plain values that `restore` takes."""
        return _state_of([self.generator, self.critic, self.average], self.optimizers)

    def restore(self, state: dict[str, Any]) -> None:
        """Return to an earlier `state`."""
        _restore([self.generator, self.critic, self.average], self.optimizers, state)


def _state_of(networks: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Any]:
    kept: dict[str, Sequence[Any]] = {"networks": networks, "optimizers": optimizers}
    return {name: [part.state_dict() for part in parts] for name, parts in kept.items()}


def _restore(networks: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer], state: dict[str, Any]) -> None:
    for network, kept in zip(networks, state["networks"], strict=True):
        network.load_state_dict(kept)
    for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(kept)
