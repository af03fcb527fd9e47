"""Training of the prior of ``sparse``, decoder and encoder, on meshes that have nothing to do with those it will code.

python -m gcbench.datasets.minis.variations --count 600 --seed 1 -o shapes/
python -m gcbench.necgs.designs.sparse_prior_training shapes/ -o sparse_prior.safetensors
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from gcbench.necgs.designs import sparse_encoder
from gcbench.necgs.designs.sparse import LATENT_SIDE, Sparse
from gcbench.necgs.designs.sparse_loss import distortion
from gcbench.necgs.designs.sparse_prior import ENCODER, RESOLUTION, size
from gcbench.necgs.designs.sparse_rate import laplace_bits
from gcbench.necgs.designs.sparse_targets import targets as targets_of
from gcbench.training import checkpoints, loop
from gcbench.training.descent import Descent
from gcbench.training.precision import precision_of
from gcbench.training.progress import shown
from gcbench.training.schedules import learning_rate

if TYPE_CHECKING:
    from gcbench.necgs.designs.sparse_targets import Target
    from gcbench.training.checkpoints import State

_LEARNING_RATE = 0.008
_COARSE_SHARE = 0.15  # of the steps, the first, in which only means and scores are trained
_FREE_SHARE = 0.5  # of the steps, the first, in which the price of a bit rises from 0
_GAINS = {"near.weight": 0.3, "values.weight": 0.3, f"{ENCODER}latents.weight": 0.3}  # of layers at the start


class PriorTraining:
    """Training of decoder and encoder on shapes; see :class:`gcbench.training.loop.Trainable`.

    Parameters
    ----------
    targets : sequence of Target
        Of the shapes. Each is shown mirrored at random, left to right and front to back.
    steps, batch : int
    price : float
        Of a bit of the latents.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        steps: int,
        *,
        batch: int = 8,
        price: float = 8e-6,
        seed: int = 0,
        precision: torch.dtype | None = None,
    ) -> None:
        self.step, self.steps = 0, steps
        self._targets, self._batch, self._price, self._seed = targets, batch, price, seed
        self._precision = precision or precision_of("auto", torch.device("cpu"))
        shapes = Sparse(RESOLUTION, 1).parameter_shapes()
        shapes |= {ENCODER + name: shape for name, shape in sparse_encoder.shapes().items()}
        sizes = {name: size(shape) for name, shape in shapes.items()}
        generator = torch.Generator().manual_seed(seed)
        self.tensors = {name: fresh(name, shape, generator) for name, shape in shapes.items()}
        forth, back, mean = sparse_encoder.principal(targets)
        self.tensors |= {"patch.weight": back, "patch.bias": mean}
        self.tensors |= {f"{ENCODER}patch.weight": forth, f"{ENCODER}patch.bias": -forth @ mean}
        self.tensors = {name: tensor.requires_grad_() for name, tensor in self.tensors.items()}
        self._descent = Descent(self.tensors, sizes, "muon")
        self.scales = torch.ones(Sparse.channels, *(LATENT_SIDE,) * 3)

    def advance(self) -> Tensor:
        """Do one step and return the loss."""
        rng = np.random.default_rng((self._seed, self.step))
        generator = torch.Generator().manual_seed(self._seed + 1_000_003 * self.step)
        chosen = rng.choice(len(self._targets), min(self._batch, len(self._targets)), replace=False)
        targets = [mirrored_at_random(self._targets[i], rng) for i in chosen]
        encoder = {name[len(ENCODER) :]: t for name, t in self.tensors.items() if name.startswith(ENCODER)}
        latents = sparse_encoder.encode(encoder, targets, self._precision)
        noisy = latents + torch.rand(latents.shape, generator=generator) - 0.5
        with torch.no_grad():
            self.scales.lerp_(noisy.abs().mean(0), 0.1 if self.step < 100 else 0.01)
        bits = laplace_bits(noisy, self.scales).sum() / len(chosen)
        first = self.step < _COARSE_SHARE * self.steps
        fine, coarse = distortion(self.tensors, noisy, targets, self._precision, rng, values=not first)
        # A price from the start would have the latents say nothing before the decoder can read them.
        price = self._price * min(1.0, self.step / (_FREE_SHARE * self.steps))
        loss = fine + coarse + price * bits
        gradients = torch.autograd.grad(loss, list(self.tensors.values()), allow_unused=True)
        rate = learning_rate(self.step, self.steps, peak=_LEARNING_RATE, warm_up=min(100, self.steps // 10), floor=0.01)
        self._descent.step(dict(zip(self.tensors, gradients, strict=True)), rate)
        self.step += 1
        self.report = {"fine": fine.item(), "coarse": coarse.item(), "latents": bits.item() / 8}
        return loss.detach()

    def state(self) -> State:
        """Everything that the rest of the training depends on."""
        return {"step": self.step, "descent": self._descent.state(), "scales": self.scales}

    def restore(self, state: State) -> None:
        """Inverse of :meth:`state`."""
        self._descent.restore(state["descent"])
        self.scales.copy_(state["scales"])
        self.step = int(state["step"])


def mirrored_at_random(target: Target, rng: np.random.Generator) -> Target:
    """The target, or one that is mirrored along the horizontal axes x and z."""
    return target.turned(range(3), [bool(rng.integers(2)), False, bool(rng.integers(2))])


def fresh(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A tensor before training."""
    if len(shape) == 1:
        return torch.zeros(shape)
    gain = _GAINS.get(name, 1.5)
    return torch.randn(shape, generator=generator) * size(shape) * gain


def main(
    meshes: Annotated[Path, typer.Argument(help="Folder of closed meshes in [-1, 1]³.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write. Beside it lies a checkpoint.")],
    steps: Annotated[int, typer.Option(min=10)] = 14_000,
    batch: Annotated[int, typer.Option(min=1, help="Meshes a step.")] = 4,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train the prior of the design sparse. A training that was stopped goes on."""
    import trimesh

    from gcbench.necgs.job import Job

    torch.set_num_threads(threads)
    loaded = [trimesh.load_mesh(path, process=False) for path in sorted(meshes.iterdir())]
    with shown() as progress:
        found = targets_of(loaded, RESOLUTION, Job(threads=threads, progress=progress))
        training = PriorTraining(found, steps, batch=batch, seed=seed)
        kept = out.with_suffix(".checkpoint")
        loop.run(training, f"{len(found)} {steps} {batch} {seed}", checkpoint=kept, progress=progress)
    metadata = {"meshes": str(len(found)), "steps": str(steps), "batch": str(batch), "seed": str(seed)}
    checkpoints.write_tensors(out, {name: t.detach().half() for name, t in training.tensors.items()}, metadata)


if __name__ == "__main__":
    typer.run(main)
