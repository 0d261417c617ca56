"""The loop of every training: it learns, averages the weights, keeps a record, and goes on where it was stopped."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn, optim
from tqdm import tqdm

from painters_utils.files import write_whole

from .checkpoint import load_checkpoint, save_checkpoint

LOG_EVERY = 40  # steps


@dataclass
class Loop:
    """`modules` are what learns and its moving average, which is what is kept; a checkpoint holds both by these names.

    `rate` says the learning rate of a step. `look`, called at every checkpoint, returns what else goes to the record:
    a line of JSON for every LOG_EVERY steps, in a .jsonl beside the checkpoint.
    """

    name: str  # on the progress bar
    checkpoint: Path
    modules: dict[str, nn.Module]
    optimizers: list[optim.Optimizer]
    rate: Callable[[int], float]
    steps: int
    batch: int
    ema: float = 0.998
    clip: float = 1.0  # the largest norm of a gradient
    save_minutes: float = 2
    look: Callable[[int], dict[str, float]] | None = None
    start: int = 0
    record: list[dict[str, float]] = field(default_factory=list)

    def resume(self) -> bool:
        """Go on from the checkpoint; False if there is none."""
        if not self.checkpoint.exists():
            return False
        self.start = load_checkpoint(self.checkpoint, self.modules, self.optimizers)
        self.record = [row for row in read_record(self.checkpoint.with_suffix(".jsonl")) if row["step"] <= self.start]
        return True

    def run(self, loss_of: Callable[[int], Tensor], called: Callable[[int], str] = lambda _: "loss") -> None:
        """Train to the last step; `loss_of` gives the loss of a step, `called` its name in the record."""
        learner, average = self.modules.values()
        progress = tqdm(total=self.steps, initial=self.start, desc=self.name, unit="step", smoothing=0.05)
        losses: list[Tensor] = []
        saved = began = time.monotonic()
        for step in range(self.start, self.steps):
            for group in [group for optimizer in self.optimizers for group in optimizer.param_groups]:
                group["lr"] = self.rate(step)
            loss = loss_of(step)
            loss.backward()
            nn.utils.clip_grad_norm_(learner.parameters(), self.clip)
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad()
            blend(average, learner, min(self.ema, (step + 1) / (step + 10)))
            losses.append(loss.detach())
            progress.update()

            over = step + 1 == self.steps
            if not over and (step + 1) % LOG_EVERY:
                continue
            speed = self.batch * len(losses) / (time.monotonic() - began)
            mean = torch.stack(losses).mean().item()
            self.record.append({"step": step + 1, called(step): round(mean, 5), "images_per_s": round(speed, 1)})
            progress.set_postfix(self.record[-1])
            losses, began = [], time.monotonic()
            if over or time.monotonic() - saved > self.save_minutes * 60:
                self._save(step + 1)
                saved = began = time.monotonic()
        progress.close()

    def _save(self, step: int) -> None:
        if self.look:
            self.record.append({"step": step} | self.look(step))
        with write_whole(self.checkpoint.with_suffix(".jsonl")) as unfinished:
            unfinished.write_text("".join(json.dumps(row) + "\n" for row in self.record))
        save_checkpoint(self.checkpoint, step, self.modules, self.optimizers)


def begin(seed: int) -> None:
    """What every training does first."""
    torch.manual_seed(seed)
    torch.set_flush_denormal(True)  # tiny numbers take a processor a hundred times longer


def cosine(rate: float, warmup: int, steps: int) -> Callable[[int], float]:
    """A learning rate that rises quickly and falls to zero as a cosine does."""
    return lambda step: rate * min(1, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.no_grad()
def blend(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Exponential moving average: average ← decay · average + (1 - decay) · module; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1 - decay)
    for ours, theirs in zip(average.buffers(), module.buffers(), strict=True):
        ours.copy_(theirs)


def read_record(path: Path) -> list[dict[str, float]]:
    """The rows of a training's .jsonl; none if there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
