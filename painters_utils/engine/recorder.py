"""Record how similar the layers' activations are, during ordinary pipeline calls.

    with record_activations(pipe.transformer) as recording:
        pipe(["a red dog", "a blue cat"])
    recording.similarity("image")  # (layers, layers)

An activation is what a block returns: one vector per token. Two layers are as similar as their vectors at the same
token are, averaged over the tokens, padding tokens of the prompt included. This is question 1 of "Transformer Layers
as Painters" (Sun et al., arXiv 2407.09298), asked of a DiT as in Abhinay 2024 (claims 1 and 14): there activations are
averaged over prompts, over timesteps, or over both, before layers are compared.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from painters_utils.errors import InputError, unknown

from .blocks import StandIn, named_inputs
from .measures import MEASURES, compared
from .recording import AVERAGES, Recording
from .stacks import find_stacks, in_place_of
from .streams import apart, elements, first_of, same, same_halves, stream_names

TIMESTEPS, LATENTS = ("timestep", "timesteps", "t"), ("hidden_states", "x")  # what transformers call them


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
    "conditional". None finds out by the latents of the first step. Of a pipeline that calls its transformer once for
    each half, as FLUX does for `true_cfg_scale`, the first call is recorded, with the prompt; such a half is told by
    its timestep and latents, so that calls of one single step need noise of their own.

    `averages`: what to average before layers are compared.
      "after"      nothing: compare the layers in every picture at every timestep, then average the similarities.
      "inputs"     the activations of the prompts of one call, at every timestep; prompts that are to be averaged must
                   be in flight together, and the matrices of several calls are averaged, weighted by their prompts.
      "timesteps"  the activations of one picture over the steps of its call. A call has ended when the timestep stays
                   or turns back, when the batch changes, or when the recording closes.
      "both"       the activations of all prompts and timesteps of all calls; there once the recording has closed.

    `measure`: one of `measures.MEASURES`; a few massive channels that grow with depth can look like a shared space, so
    others stand beside the plain cosine (several recordings may be open at once). Of "update cosine", `norms` are the
    lengths of the updates.

    `stacks`: names of the stacks to record, all unless given. Stacks without a stream in common (Lumina's and Z-Image's
    refiners) have streams of their own, named after them. `most_tokens`: compare no more tokens of a stream, evenly
    spaced.

    Memory, whatever the number of steps and calls, beside the matrices: activations of the step in flight in the
    model's dtype, and in float32 one sum per picture for "timesteps", one per half for "inputs" and for "both", each
    layers x tokens x channels. "linear CKA" needs layers x tokens² per picture for a moment.

    A transformer that takes no time, such as a BERT's encoder, is no denoiser: every pass is a picture of one step.

    A vector of length zero has similarity 0 with every other. Where activations are NaN or infinite, so are the
    similarities (NaN); `recording.finite` turns False and one `RuntimeWarning` says where it began. Raises `InputError`
    for unknown names here, and during the call where the transformer cannot be recorded.
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
        self.carried: dict[Tap, list[tuple[int, Stream, int]]] = {}  # [(element of the output, stream, layer)]
        self.timestep = 0.0  # of the step in flight
        self.latents: Any = None  # what it denoises
        self.other_half = False  # the step in flight was recorded already, with the prompt; this is without
        self.timeless = False  # the transformer takes no time, and so has no halves either
        self.runs = 0  # blocks that have run in it
        self.taken: list[tuple[Tap, dict[str, Any], Any]] = []  # their inputs and outputs, in the first step only
        self.step_before: tuple[float, int] | None = None  # timestep and batch
        self.direction = 0.0  # in which the timestep goes in the call in flight; 0 if that is not known yet
        self.pictures = 0  # painted before the call in flight

    def begin_step(self, transformer: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        inputs = signature(type(transformer).forward).bind_partial(transformer, *args, **kwargs).arguments
        timestep, latents = first_of(inputs, TIMESTEPS), first_of(inputs, LATENTS)
        known = signature(type(transformer).forward).parameters
        if timestep is None and not any(name in TIMESTEPS or "time" in name for name in known):
            timestep, self.timeless = 0.0, True  # no denoiser (BERT): each pass is a call of one step
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
        self.other_half = again and not self.timeless and same(latents, self.latents)
        self.latents = latents
        self.runs = 0
        self.taken.clear()

    def take(self, tap: Tap, inputs: dict[str, Any], output: Any) -> None:
        """One block has run. Which stream is which shows when the next has its inputs, so the first step waits."""
        self.runs += 1
        if self.other_half:
            return
        if not self.carried:
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
            if not self.carried:
                self.assign_streams()
            if not self.streams:
                raise InputError("no block returns tokens, (batch, tokens, channels): choose others with `stacks`")
            batch = len(next(iter(self.streams.values())).all_layers())
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
        now = stream.all_layers()
        lengths = torch.linalg.vector_norm(now, dim=-1, dtype=torch.float32)  # (B, L, N)
        self.add(stream, "norm", timestep, lengths.mean(-1))
        self.check_finite(stream, timestep)
        if "timesteps" in self.averages:
            stream.call = now.to(torch.float32, copy=True) if stream.call is None else stream.call.add_(now)
        if "inputs" in self.averages or "both" in self.averages:
            halves = now.unflatten(0, (self.halves, -1))  # (H, P, L, N, D)
            sums, prompts = halves.sum(1, dtype=torch.float32), halves.shape[1]  # (H, L, N, D)
            if "both" in self.averages:
                stream.all = sums.clone() if stream.all is None else stream.all.add_(sums)
            if "inputs" in self.averages:
                similarity = compared(sums, self.recording.measure)
                self.recording._add(stream.name, "inputs", timestep, similarity * prompts, prompts)
        if "after" in self.averages:  # last, for it overwrites the activations
            similarity = compared(now, self.recording.measure, lengths)  # (B, L, L)
            self.add(stream, "after", timestep, similarity)
            for picture, of_halves in enumerate(similarity.unflatten(0, (self.halves, -1)).unbind(1)):
                self.recording._add(stream.name, "picture", self.pictures + picture, of_halves, 1)

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

    def all_layers(self) -> Tensor:
        """What all layers returned in this step: (B, L, N, D)."""
        assert self.now is not None, "no block of this stream has run"
        return self.now

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
