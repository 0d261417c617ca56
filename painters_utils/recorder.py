"""Record how similar the layers' activations are, during ordinary pipeline calls.

    with record_activations(pipe.transformer) as recording:
        pipe(["a red dog", "a blue cat"])
    recording.similarity("image")  # (layers, layers)

An activation is what a block returns: one vector per token. Two layers are as similar as their vectors at the same
token are, averaged over the tokens, padding tokens of the prompt included. This is question 1 of "Transformer Layers
as Painters" (Sun et al., arXiv 2407.09298), asked of a DiT as in Abhinay 2024 (claims 1 and 14): there activations are
averaged over prompts, over timesteps, or over both, before layers are compared.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .blocks import INPUTS, StandIn, named_inputs
from .errors import InputError, unknown
from .stacks import find_stacks, in_place_of

AVERAGES = ("after", "inputs", "timesteps", "both")
TIMESTEPS, LATENTS = ("timestep", "timesteps", "t"), ("hidden_states", "x")  # what transformers call them
CHUNK = 2**17  # values of one layer compared in one float32 product: keeps rounding and temporaries small


@contextmanager
def record_activations(
    transformer: nn.Module,
    guided: bool | None = False,
    averages: Sequence[str] = AVERAGES,
    measure: str = "cosine",
    stacks: Sequence[str] | None = None,
    most_tokens: int | None = None,
) -> Iterator["Recording"]:
    """Record every layer the transformer runs while the context is open; yields the `Recording`.

    Any number of calls of a pipeline may follow. To record layers in another order, open the recording *inside*
    `layer_order`: it sees the blocks that are in place when it opens, position by position.

    `guided`: the batch is [unconditional, conditional] halves, as the pipelines of SD3 and AuraFlow join them when
    they guide (both hold the same latents, which is checked); the halves are kept apart. Otherwise the whole batch is
    "conditional". None finds out by the latents of the first step. Pipelines that call the transformer once for each
    half, as FLUX does for `true_cfg_scale`, begin with the conditional one; that one is recorded, the other is not.

    `averages`: what to average before layers are compared.
      "after"      nothing: compare the layers in every picture at every timestep, then average the similarities.
      "inputs"     the activations of the prompts of one call, at every timestep. Prompts that are to be averaged must
                   be in flight together; the matrices of several calls are averaged, weighted by their prompts.
      "timesteps"  the activations of one picture over the steps of its call. A call has ended when the timestep stays
                   or turns back (most pipelines count down to 0, Lumina and Z-Image up), when the batch changes, or
                   when the recording closes.
      "both"       the activations of all prompts and timesteps of all calls; there once the recording has closed.

    `measure`: a few massive channels that grow with depth can look like a shared space, so others stand beside
    the plain one (several recordings may be open at once).
      "cosine"          cosine of the two vectors of a token, averaged over tokens.
      "centred cosine"  the same after each layer's mean over the tokens of the picture is taken off.
      "linear CKA"      Kornblith et al. 2019, with the unbiased estimator of HSIC (Song et al. 2012, equation 5): how
                        alike the two layers' token-by-token Gram matrices are. About 0 for unrelated layers, however
                        few the tokens; slightly negative values occur. Needs 4 tokens.
      "update cosine"   cosine of what the two layers *add* to the stream: their outputs less their inputs. `norms` are
                        then the lengths of the updates.

    `stacks`: names of the stacks to record; all of them unless given. Stacks without an image, a text or a joint
    stream in common (Lumina's and Z-Image's refiners) have streams of their own, named after them.

    `most_tokens`: compare no more tokens of a stream than that, evenly spaced; all of them unless given.

    Memory, whatever the number of steps and calls, beside the matrices: activations of the step in flight in the
    model's dtype, and in float32 one sum per picture for "timesteps", one per half for "inputs" and for "both", each
    layers x tokens x channels. Leave averages out to save theirs. "linear CKA" needs layers x tokens² per picture for
    a moment.

    A vector of length zero has similarity 0 with every other. Where activations are NaN or infinite, so are the
    similarities (NaN); `recording.finite` turns False and one `RuntimeWarning` says where it began.

    Raises `InputError` for unknown names here, and during the call where the transformer cannot be recorded.
    """
    known = find_stacks(transformer)
    for kind, names, choices in (
        ("average", averages, AVERAGES), ("measure", [measure], MEASURES), ("stack", stacks or [], known)
    ):  # fmt: skip
        for name in names:
            if name not in choices:
                raise unknown(kind, name, choices)

    recorder = Recorder(Recording(guided=guided, measure=measure), averages, most_tokens)
    recorder.taps = {
        stack: [Tap(block, (stack, position), recorder) for position, block in enumerate(getattr(transformer, stack))]
        for stack in known
        if stacks is None or stack in stacks
    }
    with in_place_of(transformer, recorder.taps):
        hooks = [
            transformer.register_forward_pre_hook(recorder.begin_step, with_kwargs=True),
            transformer.register_forward_hook(recorder.end_step),
        ]
        try:
            yield recorder.recording
        finally:
            for hook in hooks:
                hook.remove()
    recorder.close()


# -- results ------------------------------------------------------------------------------------------------


@dataclass
class Recording:
    """What was recorded: mean similarities and norms per stream, kept as float64 sums and their weights.

    A stream ("image", "text", or "joint" where blocks return both in one tensor) holds the layers of all stacks that
    carry it, so that layers of different stacks can be compared; `stack` picks the layers of one.
    """

    guided: bool
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
            np.savez_compressed(file, about=json.dumps(about), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "Recording":
        """Read what `save` wrote; nothing in the file is executed."""
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, Mapping) or "about" not in file:
                raise InputError(f"{path} holds no recording: give a file written by Recording.save")
            recording = cls(**json.loads(str(file["about"])))
            recording.streams = {name: [tuple(layer) for layer in rows] for name, rows in recording.streams.items()}
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
            raise InputError(
                f"average {what!r} was not recorded: name it in `averages`, and read it after the recording has closed"
            )
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


# -- recording ----------------------------------------------------------------------------------------------


class Tap(StandIn):
    """A block that shows the recorder what it returns.

    Not a forward hook: those on a compiled block are compiled away.
    """

    def __init__(self, block: nn.Module, place: tuple[str, int], recorder: "Recorder") -> None:
        super().__init__([block])
        self.place, self.recorder = place, recorder

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.blocks[0](*args, **kwargs)
        self.recorder.take(self, named_inputs(self, args, kwargs), output)
        return output


class Recorder:
    """Collects the blocks' outputs of one step, compares the layers when it ends, and keeps only the results."""

    def __init__(self, recording: "Recording", averages: Sequence[str], most_tokens: int | None = None) -> None:
        self.recording = recording
        self.averages = averages
        self.most_tokens = most_tokens
        self.taps: dict[str, list[Tap]] = {}
        self.streams: dict[str, Stream] = {}
        self.carried: dict[Tap, list[tuple[int, Stream, int]]] | None = None  # [(element of the output, stream, layer)]
        self.timestep = 0.0  # of the step in flight
        self.latents: Any = None  # what it denoises
        self.other_half = False  # the step in flight was recorded already, with the prompt; this is without
        self.runs = 0  # blocks that have run in it
        self.taken: list[tuple[Tap, dict[str, Any], Any]] = []  # their inputs and outputs, in the first step only
        self.step_before: tuple[float, int] | None = None  # timestep and batch
        self.direction = 0.0  # in which the timestep goes in the call in flight; 0 if that is not known yet
        self.pictures = 0  # painted before the call in flight

    def begin_step(self, transformer: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        inputs = signature(type(transformer).forward).bind_partial(transformer, *args, **kwargs).arguments
        timestep, latents = first_of(inputs, TIMESTEPS), first_of(inputs, LATENTS)
        if timestep is None:
            raise InputError(f"{type(transformer).__name__} was given no `timestep`: only denoisers are recorded")
        if self.recording.guided is None:
            self.recording.guided = same_halves(latents)
        if self.recording.guided and not same_halves(latents):
            raise InputError(
                f"a batch of {len(latents)} whose halves are not the same latents is not guided: set guided=False"
            )
        self.timestep = float(torch.as_tensor(timestep).flatten()[0])
        again = self.step_before is not None and self.timestep == self.step_before[0]
        self.other_half = again and same(latents, self.latents)
        self.latents = latents
        self.runs = 0
        self.taken.clear()

    def take(self, tap: Tap, inputs: dict[str, Any], output: Any) -> None:
        """One block has run. Which stream is which shows when the next has its inputs, so the first step waits."""
        self.runs += 1
        if self.other_half:
            return
        if self.carried is None:
            self.taken.append((tap, inputs, output))
        else:
            self.store(tap, inputs, output)

    def store(self, tap: Tap, inputs: dict[str, Any], output: Any) -> None:
        for element, stream, layer in self.carried[tap]:
            tokens = self.some(elements(output)[element])
            if self.recording.measure == "update cosine":
                given = inputs["encoder_hidden_states" if stream.name == "text" else "hidden_states"]
                tokens = tokens - self.some(given)
            stream.put(layer, tokens, tap.place)

    def some(self, tokens: Tensor) -> Tensor:
        """`most_tokens` at most of (B, N, D), evenly spaced."""
        return tokens[:, :: -(-tokens.shape[1] // self.most_tokens)] if self.most_tokens else tokens

    def end_step(self, *_: Any) -> None:
        """The transformer has run through: compare what its blocks returned."""
        if self.runs != sum(map(len, self.taps.values())):
            raise InputError("the blocks were exchanged while recording: open the recording inside `layer_order`")
        if self.other_half:
            return
        with plain_tensors():
            if self.carried is None:
                self.assign_streams()
            if not self.streams:
                raise InputError("no block returns tokens, (batch, tokens, channels): choose others with `stacks`")
            batch = len(next(iter(self.streams.values())).now)
            if self.step_before:
                change = self.timestep - self.step_before[0]
                if batch == self.step_before[1] and change and change * self.direction >= 0:
                    self.direction, self.recording.rising = change, change > 0
                else:
                    self.end_call()
                    self.pictures += self.step_before[1] // self.halves
                    self.direction = 0.0
            for stream in self.streams.values():
                self.compare(stream, self.timestep)
        self.step_before = self.timestep, batch

    def assign_streams(self) -> None:
        """After the first step: say which element of each output is which stream, and make room for the streams."""
        names = apart(self.taken, stream_names(self.taken))
        self.carried = {tap: [] for tap, _, _ in self.taken}
        for (tap, _, output), named in zip(self.taken, names, strict=True):
            for element, name in named.items():
                stream = self.streams.setdefault(name, Stream(name))
                self.carried[tap].append((element, stream, len(stream.places)))
                stream.places.append(tap.place)
                dtype = elements(output)[element].dtype
                stream.dtype = torch.promote_types(stream.dtype or dtype, dtype)
        for tap, inputs, output in self.taken:
            self.store(tap, inputs, output)
        self.taken.clear()
        self.recording.streams = {name: stream.places for name, stream in self.streams.items()}

    def compare(self, stream: "Stream", timestep: float) -> None:
        """Add this step of one stream to the recording and to the running sums."""
        now = stream.now  # (B, L, N, D)
        lengths = torch.linalg.vector_norm(now, dim=-1, dtype=torch.float32)  # (B, L, N)
        self.add(stream, "norm", timestep, lengths.mean(-1))
        self.check_finite(stream, timestep)
        if "after" in self.averages:
            similarity = compared(now, self.recording.measure, lengths)  # (B, L, L)
            self.add(stream, "after", timestep, similarity)
            for picture, of_halves in enumerate(similarity.unflatten(0, (self.halves, -1)).unbind(1)):
                self.recording._add(stream.name, "picture", self.pictures + picture, of_halves, 1)
        if "timesteps" in self.averages:
            stream.call = now.to(torch.float32, copy=True) if stream.call is None else stream.call.add_(now)
        if "inputs" in self.averages or "both" in self.averages:
            halves = now.unflatten(0, (self.halves, -1))  # (H, P, L, N, D)
            sums, prompts = halves.sum(1, dtype=torch.float32), halves.shape[1]  # (H, L, N, D)
            if "inputs" in self.averages:
                similarity = compared(sums, self.recording.measure)
                self.recording._add(stream.name, "inputs", timestep, similarity * prompts, prompts)
            if "both" in self.averages:
                stream.all = sums if stream.all is None else stream.all.add_(sums)

    def end_call(self) -> None:
        """The pictures in flight are done: compare what was summed over their steps."""
        for stream in self.streams.values():
            if stream.call is not None:
                self.add(stream, "timesteps", 0.0, compared(stream.call, self.recording.measure))
                stream.call = None

    def close(self) -> None:
        with plain_tensors():
            self.end_call()
            for stream in self.streams.values():
                if stream.all is not None:
                    self.recording._add(stream.name, "both", 0.0, compared(stream.all, self.recording.measure), 1)

    @property
    def halves(self) -> int:
        return 2 if self.recording.guided else 1

    def add(self, stream: "Stream", what: str, timestep: float, values: Tensor) -> None:
        """Add values per picture (B, ...) to the means of the halves."""
        halves = values.unflatten(0, (self.halves, -1))
        self.recording._add(stream.name, what, timestep, halves.sum(1), halves.shape[1])

    def check_finite(self, stream: "Stream", timestep: float) -> None:
        if not self.recording.finite:
            return
        lengths = self.recording.sums[stream.name, "norm"][timestep][0].sum(0)  # (L,)
        if not np.isfinite(lengths).all():
            self.recording.finite = False
            stack, position = stream.places[int(np.argmin(np.isfinite(lengths)))]
            warnings.warn(
                f"activations are NaN or infinite from {stack} {position} ({stream.name}) at timestep {timestep:g} on: "
                f"similarities there are NaN",
                RuntimeWarning,
                stacklevel=2,
            )


@dataclass(eq=False)
class Stream:
    """The activations in flight of one stream."""

    name: str
    places: list[tuple[str, int]] = field(default_factory=list)
    dtype: torch.dtype | None = None
    now: Tensor | None = None  # (B, L, N, D) this step
    call: Tensor | None = None  # (B, L, N, D) float32, summed over the steps of this call
    all: Tensor | None = None  # (H, L, N, D) float32, summed over everything

    def put(self, layer: int, tokens: Tensor, place: tuple[str, int]) -> None:
        """Keep one layer's output of this step: tokens (B, N, D)."""
        if self.now is not None and self.now.shape[2:] != tokens.shape[1:]:
            raise InputError(
                f"{self.name} activations of {place[0]} {place[1]} have {list(tokens.shape[1:])} tokens and channels, "
                f"those before {list(self.now.shape[2:])}: record one picture size at a time, and choose `stacks`"
            )
        if self.now is None or len(self.now) != len(tokens):
            with plain_tensors():
                batch, *rest = tokens.shape
                self.now = torch.empty(batch, len(self.places), *rest, dtype=self.dtype, device=tokens.device)
        self.now[:, layer] = tokens.detach()


@contextmanager
def plain_tensors() -> Iterator[None]:
    """Full precision, no gradients, and tensors that may still be changed later, whatever mode the pipeline runs in."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
        with torch.autocast("cuda", enabled=False):
            yield


# -- streams ------------------------------------------------------------------------------------------------


def first_of(inputs: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The first of these arguments that was given."""
    return next((inputs[name] for name in names if inputs.get(name) is not None), None)


def same(one: Any, other: Any) -> bool:
    """Whether two latents, tensors or lists of tensors, are equal."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    both_lists = isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other)
    return both_lists and all(same(*pair) for pair in zip(one, other, strict=True))


def same_halves(latents: Any) -> bool:
    """Whether a batch holds the same latents twice."""
    middle, odd = divmod(len(latents), 2)
    return not odd and same(latents[:middle], latents[middle:])


def elements(output: Any) -> Sequence[Any]:
    return output if isinstance(output, tuple | list) else (output,)


def holds_tokens(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 3  # (B, N, D)


def stream_names(taken: Sequence[tuple[Tap, dict[str, Any], Any]]) -> list[dict[int, str]]:
    """Which element of each block's output is which stream, from one run through the blocks: {element: stream}.

    FLUX and SD3 blocks return (text, image), others (image, text). What a block returns the next one is given, so the
    very same tensor tells by the name under which it is passed. Where none is passed on (the last block, or something
    was done to it in between), the number of tokens tells, else the place it has in the other blocks.
    """
    names: list[dict[int, str] | None] = []
    for (_, inputs, output), (_, following, _) in zip(taken, [*taken[1:], (None, {}, None)], strict=True):
        tensors = {index: part for index, part in enumerate(elements(output)) if holds_tokens(part)}
        names.append(named_streams(tensors, inputs, following))
    pairs = [named for named in names if named and len(named) == 2]
    if None in names and not pairs:
        stack, position = taken[names.index(None)][0].place
        raise InputError(f"cannot tell text from image in {stack} {position}: use unequal numbers of tokens")
    return [pairs[0] if named is None else named for named in names]


def apart(taken: Sequence[tuple[Tap, dict[str, Any], Any]], names: list[dict[int, str]]) -> list[dict[int, str]]:
    """The same names, but those of each stack its own where one name stands for other tokens in other stacks."""
    shapes: dict[str, dict[str, tuple]] = {}
    for (tap, _, output), named in zip(taken, names, strict=True):
        for element, name in named.items():
            shapes.setdefault(name, {}).setdefault(tap.place[0], tuple(elements(output)[element].shape[1:]))
    mixed = {name for name, of in shapes.items() if len(set(of.values())) > 1}
    return [
        {element: tap.place[0] if name in mixed else name for element, name in named.items()}
        for (tap, _, _), named in zip(taken, names, strict=True)
    ]


def named_streams(
    tensors: dict[int, Tensor], inputs: dict[str, Any], following: dict[str, Any]
) -> dict[int, str] | None:
    """The streams of one output; None if they cannot be told apart."""
    if len(tensors) < 2:  # cross-attention blocks read the text and return the image; others get both in one tensor
        name = "image" if holds_tokens(inputs.get("encoder_hidden_states")) else "joint"
        return {index: name for index in tensors}
    first, second = list(tensors)[:2]
    for text, image in ((first, second), (second, first)):
        if following.get("encoder_hidden_states") is tensors[text] or following.get("hidden_states") is tensors[image]:
            return {image: "image", text: "text"}
    given = [inputs[name].shape[1] if holds_tokens(inputs.get(name)) else 0 for name in INPUTS]
    for text, image in ((first, second), (second, first)):
        if given[0] != given[1] and [tensors[image].shape[1], tensors[text].shape[1]] == given:
            return {image: "image", text: "text"}
    return None


# -- measures -----------------------------------------------------------------------------------------------


def centred(activations: Tensor) -> Tensor:
    """Each layer's vectors less their mean over tokens: (G, L, N, D)."""
    activations = activations.float()
    return activations - activations.mean(2, keepdim=True)


def token_gram(activations: Tensor) -> Tensor:
    """Inner products of every two tokens, U-centred (Székely & Rizzo 2014): (G, L, N, D) to (G, L, 1, N·N).

    The inner product of two such vectors is N (N - 3) times the unbiased estimate of HSIC.
    """
    activations = centred(activations)  # changes nothing but the rounding
    tokens = activations.shape[2]
    if tokens < 4:
        raise InputError(f"linear CKA of {tokens} tokens cannot be estimated: record at least 4, or another measure")
    gram = activations @ activations.mT
    gram.diagonal(dim1=-2, dim2=-1).zero_()
    rows = gram.sum(-1, keepdim=True) / (tokens - 2)
    gram = gram - rows - rows.mT + gram.sum((-2, -1), keepdim=True) / ((tokens - 1) * (tokens - 2))
    gram.diagonal(dim1=-2, dim2=-1).zero_()
    return gram.flatten(2).unsqueeze(2)


MEASURES: dict[str, Callable[[Tensor], Tensor]] = {
    "cosine": lambda activations: activations,
    "centred cosine": centred,
    "linear CKA": token_gram,
    "update cosine": lambda updates: updates,
}


def compared(activations: Tensor, measure: str, lengths: Tensor | None = None) -> Tensor:
    """Similarity of every two layers: activations (G, L, N, D) to (G, L, L) float64 on the CPU.

    `lengths` of the tokens' vectors (G, L, N), where known already, save a plain cosine a pass over the activations.
    """
    activations = MEASURES[measure](activations)
    if lengths is None or measure not in ("cosine", "update cosine"):
        lengths = torch.linalg.vector_norm(activations, dim=-1, dtype=torch.float32)
    tokens, channels = activations.shape[2:]
    some = max(1, CHUNK // channels)
    sums = []
    for part, length in zip(activations.split(some, dim=2), lengths.split(some, dim=2), strict=True):
        unit = (part / length.clamp_min(1e-12).unsqueeze(-1)).flatten(2)  # (G, L, n·D); a zero vector stays zero
        sums.append(unit @ unit.mT)
    return torch.stack(sums).cpu().double().sum(0) / tokens
