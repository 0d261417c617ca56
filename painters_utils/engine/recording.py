"""What a recording holds: mean similarities and norms, by stream, timestep and picture; saved as plain numbers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from painters_utils.errors import InputError, unknown

AVERAGES = ("after", "inputs", "timesteps", "both")


@dataclass
class Recording:
    """What was recorded: mean similarities and norms per stream, kept as float64 sums and their weights.

    A stream ("image", "text", or "joint" where blocks return both in one tensor) holds the layers of all stacks that
    carry it, so that layers of different stacks can be compared; `stack` picks the layers of one.
    """

    guided: bool | None  # None until the first step has told
    measure: str = "cosine"
    finite: bool = True  # False once any activation was NaN or infinite
    rising: bool = False  # True if the timestep goes up as the noise goes down
    streams: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    # (stream, what): {timestep: [sum (halves, layers, ...), weight]}; what runs over timesteps has the one key 0, and
    # "picture" the picture's number in place of the timestep
    sums: dict[tuple[str, str], dict[float, list]] = field(default_factory=dict)

    @property
    def timesteps(self) -> list[float]:
        """The timesteps recorded, noisiest first, as the model is given them: FLUX and AuraFlow 1–0, SD3 1000–0."""
        found = {t for (_, what), rows in self.sums.items() if what == "norm" for t in rows}
        return sorted(found, reverse=not self.rising)

    def layers(self, stream: str, stack: str | None = None) -> list[tuple[str, int]]:
        """What the rows of a stream's matrix are: (stack, position at which the block ran)."""
        return [self._layers(stream)[index] for index in self._picked(stream, stack)]

    def similarity(
        self, stream: str, average: str = "after", half: str = "conditional", stack: str | None = None
    ) -> np.ndarray:
        """Mean similarity of every two layers: (layers, layers) float64. `InputError` for what was not recorded."""
        totals, weights = self._rows(stream, average, half, stack)
        return totals.sum(0) / weights.sum()

    def per_timestep(
        self, stream: str, average: str = "after", half: str = "conditional", stack: str | None = None
    ) -> np.ndarray:
        """The same for each of `timesteps`: (timesteps, layers, layers). `average` is "after" or "inputs"."""
        if average in ("timesteps", "both"):
            raise InputError(f"average {average!r} runs over the timesteps: choose 'after' or 'inputs'")
        totals, weights = self._rows(stream, average, half, stack)
        return totals / weights[:, None, None]

    def per_picture(self, stream: str, half: str = "conditional", stack: str | None = None) -> np.ndarray:
        """ "after" for each picture, averaged over its timesteps: (pictures, layers, layers), in the order painted.

        What resampling over prompts and seeds needs. `InputError` if "after" was not recorded.
        """
        totals, weights = self._rows(stream, "picture", half, stack)
        return totals[::-1] / weights[::-1, None, None]

    def norms(self, stream: str, half: str = "conditional", stack: str | None = None) -> np.ndarray:
        """Mean length of a token's vector, in the model's own units: (timesteps, layers)."""
        totals, weights = self._rows(stream, "norm", half, stack)
        return totals / weights[:, None]

    def save(self, path: str | Path) -> None:
        """Write everything to one .npz file of plain numbers and text, for `Recording.load`."""
        names = ("guided", "measure", "finite", "rising", "streams")
        about = {name: getattr(self, name) for name in names}
        arrays = {}
        for (stream, what), rows in self.sums.items():
            arrays[f"{stream}|{what}|timesteps"] = np.array(list(rows))
            arrays[f"{stream}|{what}|sums"] = np.stack([total for total, _ in rows.values()])
            arrays[f"{stream}|{what}|weights"] = np.array([weight for _, weight in rows.values()])
        with open(path, "wb") as file:  # an open file, or numpy would add .npz to a name without it
            np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> "Recording":
        """Read what `save` wrote; nothing in the file is executed."""
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, Mapping) or "about" not in file:
                raise InputError(f"{path} holds no recording: give a file written by Recording.save")
            recording = cls(**json.loads(str(file["about"])))
            for name, layers in recording.streams.items():
                recording.streams[name] = [(stack, position) for stack, position in layers]
            for stream, what in {tuple(name.split("|")[:2]) for name in file if name != "about"}:
                columns = (file[f"{stream}|{what}|{column}"].tolist() for column in ("timesteps", "weights"))
                rows = zip(*columns, file[f"{stream}|{what}|sums"], strict=True)
                recording.sums[stream, what] = {timestep: [total, weight] for timestep, weight, total in rows}
        return recording

    def _add(self, stream: str, what: str, timestep: float, values: Tensor, weight: int) -> None:
        """Add to a running mean: `values` (halves, ...) is the sum of `weight` observations."""
        row = self.sums.setdefault((stream, what), {}).setdefault(timestep, [0.0, 0])
        row[0] = row[0] + values.cpu().double().numpy()
        row[1] += weight

    def _rows(self, stream: str, what: str, half: str, stack: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Sums (timesteps, layers[, layers]) and weights (timesteps,), noisiest timestep first."""
        picked = self._picked(stream, stack)
        halves = ["unconditional", "conditional"] if self.guided else ["conditional"]
        if half not in halves:
            raise InputError(f"half {half!r} was not recorded: choose {' or '.join(halves)}, or set guided=True")
        if what not in (*AVERAGES, "norm", "picture"):
            raise unknown("average", what, AVERAGES)
        if not (rows := self.sums.get((stream, what))):
            raise InputError(f"average {what!r} was not recorded: name it in `averages`, and read it after the `with`")
        ordered = [rows[timestep] for timestep in sorted(rows, reverse=not self.rising or what == "picture")]
        totals = np.stack([total[halves.index(half)] for total, _ in ordered])
        for axis in range(1, totals.ndim):
            totals = totals.take(picked, axis)
        return totals, np.array([weight for _, weight in ordered])

    def _picked(self, stream: str, stack: str | None) -> list[int]:
        """The rows of a stream's matrix that belong to `stack`, all of them if it is None."""
        layers = self._layers(stream)
        if stack is not None and stack not in (stacks := dict(layers)):
            raise unknown(f"stack of the {stream} stream", stack, stacks)
        return [index for index, layer in enumerate(layers) if stack in (None, layer[0])]

    def _layers(self, stream: str) -> list[tuple[str, int]]:
        if not self.streams:
            raise InputError("nothing was recorded: call the pipeline inside the `with` block")
        if stream not in self.streams:
            raise unknown("stream", stream, self.streams)
        return self.streams[stream]
