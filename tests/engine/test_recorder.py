"""The recorder equals a plain float64 computation, changes nothing, and forgets what it no longer needs."""

import weakref
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from copy import deepcopy

import numpy as np
import pytest
import torch
from conftest import Toy, flux_is_slow
from torch import Tensor, nn

from painters_utils.engine.measures import MEASURES, compared
from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.recorder import record_activations
from painters_utils.engine.recording import AVERAGES, Recording
from painters_utils.engine.stacks import find_stacks, in_place_of
from painters_utils.errors import InputError

TIMESTEPS = (0.9, 0.5, 0.2)
JOINT = "AuraFlowSingleTransformerBlock"  # returns one tensor; all other blocks of the toys return (text, image)


# -- the reference: keep everything, compare in Python loops --------------------------------------------------


def denoise(toy: Toy, batches=(2, 4), timesteps=TIMESTEPS, guided=False, **changes: Tensor) -> None:
    """One call per entry of `batches`: every step on other latents, each call on other prompts.

    `guided` gives both halves of the batch the same latents, as the pipelines do.
    """
    draw = torch.Generator().manual_seed(1)
    dtype = next(toy.transformer.parameters()).dtype
    with torch.no_grad():
        for batch in batches:
            fixed = {}
            for name, value in toy.inputs.items():
                if name not in ("img_ids", "txt_ids"):
                    fixed[name] = torch.randn(batch, *value.shape[1:], generator=draw)
                    value = fixed[name]
                fixed[name] = value.to(dtype)
            for timestep in timesteps:
                latents = torch.randn(fixed["hidden_states"].shape, generator=draw).to(dtype)
                fixed["hidden_states"] = torch.cat([latents[: batch // 2]] * 2) if guided else latents
                toy.transformer(**fixed | {"timestep": torch.full((batch,), timestep)} | changes, return_dict=False)


@contextmanager
def everything_kept(transformer: nn.Module, updates: bool = False):
    """Every output of every block of every step by plain hooks: [{stream: [tensor of each layer]}].

    `updates`: less the block's input of that stream.
    """
    steps, now = [], defaultdict(list)

    def keep(block, args, kwargs, output):
        text, image = (None, None) if isinstance(output, Tensor) else output
        joint = output if isinstance(output, Tensor) else None
        for stream, tensor in (("text", text), ("image", image), ("joint", joint)):
            if tensor is not None:
                before = kwargs["encoder_hidden_states" if stream == "text" else "hidden_states"] if updates else 0
                now[stream].append((tensor - before).detach().double().numpy())

    def end(*_):
        steps.append(dict(now))
        now.clear()

    with ExitStack() as stack:
        for blocks in find_stacks(transformer).values():
            for block in blocks:
                stack.enter_context(block.register_forward_hook(keep, with_kwargs=True))
        stack.enter_context(transformer.register_forward_hook(end))
        yield steps


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over tokens of the cosine of (tokens, channels) vectors; 0 where one has no length."""
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.divide((a * b).sum(-1), lengths, out=np.zeros_like(lengths), where=lengths > 0).mean()


def hsic(a: np.ndarray, b: np.ndarray) -> float:
    """Song et al. 2012, equation 5, of two Gram matrices (tokens, tokens)."""
    n, one = len(a), np.ones(len(a))
    a, b = a - np.diag(np.diag(a)), b - np.diag(np.diag(b))
    return (
        np.trace(a @ b) + (one @ a @ one) * (one @ b @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ a @ b @ one)
    ) / (n * (n - 3))


def linear_cka(a: np.ndarray, b: np.ndarray) -> float:
    """Kornblith et al. 2019 with the unbiased HSIC; the vectors are not centred, for U-centring makes up for it."""
    a, b = a @ a.T, b @ b.T
    return hsic(a, b) / np.sqrt(hsic(a, a) * hsic(b, b))


PLAIN = {
    "cosine": cosine,
    "centred cosine": lambda a, b: cosine(a - a.mean(0), b - b.mean(0)),
    "linear CKA": linear_cka,
    "update cosine": cosine,
}


def matrix(layers: list[np.ndarray], measure: str = "cosine") -> np.ndarray:
    """Every pair of layers (tokens, channels), one at a time."""
    result = np.zeros((len(layers), len(layers)))
    for i in range(len(layers)):
        for j in range(i + 1):
            result[i, j] = result[j, i] = PLAIN[measure](layers[i], layers[j])
    return result


def reference(steps: list[dict], stream: str, average: str, half, measure="cosine", per_call=3) -> np.ndarray:
    """The mean similarity by its definition. `half` says which pictures of a batch of that size count."""
    calls = [steps[start : start + per_call] for start in range(0, len(steps), per_call)]
    calls = [[[layer[half(len(layer))] for layer in step[stream]] for step in call] for call in calls]  # (B, N, D) each
    weighted = []
    for call in calls:
        pictures = range(len(call[0][0]))
        if average == "after":
            weighted += [(matrix([layer[p] for layer in step], measure), 1) for step in call for p in pictures]
        if average == "inputs":
            weighted += [(matrix([layer.mean(0) for layer in step], measure), len(pictures)) for step in call]
        if average == "timesteps":
            means = np.mean(call, axis=0)  # (L, B, N, D)
            weighted += [(matrix(list(means[:, p]), measure), 1) for p in pictures]
    if average == "both":
        flat = [[np.concatenate(layer) for layer in zip(*call, strict=True)] for call in calls]  # (steps·B, N, D)
        weighted = [(matrix([np.concatenate(layer).mean(0) for layer in zip(*flat, strict=True)], measure), 1)]
    return sum(result * weight for result, weight in weighted) / sum(weight for _, weight in weighted)


def whole(batch: int) -> slice:
    return slice(batch)


HALVES = {
    "conditional": lambda batch: slice(batch // 2, None),
    "unconditional": lambda batch: slice(0, batch // 2),
}


# -- the numbers ----------------------------------------------------------------------------------------------


@flux_is_slow
@pytest.mark.parametrize(
    "guided, dtype",
    [
        pytest.param(False, torch.float32, marks=pytest.mark.slow),
        (True, torch.float32),
        pytest.param(True, torch.bfloat16, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_equals_the_plain_computation(toy, guided, dtype):
    if dtype != torch.float32:
        toy = Toy(deepcopy(toy.transformer).to(dtype), toy.inputs)
    with everything_kept(toy.transformer) as steps, record_activations(toy.transformer, guided) as recording:
        denoise(toy, guided=guided)
    assert set(recording.streams) == set(steps[0])
    halves = HALVES if guided else {"conditional": whole}
    for half, pick in halves.items():
        for stream in recording.streams:
            for average in AVERAGES:
                found = recording.similarity(stream, average, half)
                assert found.dtype == np.float64
                np.testing.assert_allclose(found, reference(steps, stream, average, pick), atol=1e-5, err_msg=average)


@pytest.mark.slow
@pytest.mark.parametrize("measure", MEASURES)
def test_measures_equal_the_plain_computation(auraflow, measure):
    with everything_kept(auraflow.transformer, updates=measure == "update cosine") as steps:
        with record_activations(auraflow.transformer, measure=measure) as recording:
            denoise(auraflow)
    for stream in ("image", "joint"):
        for average in AVERAGES:
            expected = reference(steps, stream, average, whole, measure)
            np.testing.assert_allclose(recording.similarity(stream, average), expected, atol=1e-5, err_msg=average)


def test_linear_cka_of_unrelated_layers_is_about_zero_and_of_a_layer_with_itself_one():
    draw = torch.Generator().manual_seed(0)
    layers = torch.randn(200, 2, 16, 64, generator=draw)  # few tokens, many channels: where the biased one sees much
    found = compared(layers, "linear CKA")
    assert abs(found[:, 0, 1].mean()) < 0.01
    assert torch.allclose(found[:, 0, 0], torch.ones(200, dtype=torch.float64), atol=1e-5)
    with pytest.raises(InputError, match="linear CKA of 3 tokens"):
        compared(layers[:, :, :3], "linear CKA")


def test_each_timestep_on_its_own(sd3):
    with everything_kept(sd3.transformer) as steps, record_activations(sd3.transformer) as recording:
        denoise(sd3)
    np.testing.assert_allclose(recording.timesteps, TIMESTEPS)
    for average in ("after", "inputs"):
        found = recording.per_timestep("image", average)
        assert found.shape == (3, 24, 24)
        for index in range(3):
            expected = reference(steps[index::3], "image", average, whole, per_call=1)
            np.testing.assert_allclose(found[index], expected, atol=1e-5)
    for index in range(3):
        layers = zip(*(step["text"] for step in steps[index::3]), strict=True)  # the two calls of each
        lengths = [np.linalg.norm(np.concatenate(calls), axis=-1).mean() for calls in layers]
        np.testing.assert_allclose(recording.norms("text")[index], lengths, rtol=1e-5)
    with pytest.raises(InputError, match="choose 'after' or 'inputs'"):
        recording.per_timestep("image", "both")


@pytest.mark.parametrize("guided", [False, True])
def test_each_picture_on_its_own(sd3, guided):
    with everything_kept(sd3.transformer) as steps, record_activations(sd3.transformer, guided) as recording:
        denoise(sd3, guided=guided)  # two calls of three steps, of 2 and of 4 in the batch
    for half, pick in (HALVES if guided else {"conditional": whole}).items():
        found = recording.per_picture("image", half)
        expected = []
        for call in (steps[:3], steps[3:]):
            batch = len(call[0]["image"][0])
            for picture in range(batch)[pick(batch)]:
                alone = lambda size, row=picture: slice(row, row + 1)  # noqa: E731
                expected.append(reference(call, "image", "after", alone))
        assert len(found) == len(expected) == (3 if guided else 6)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(found.mean(0), recording.similarity("image", half=half), atol=1e-9)


def test_many_tokens_are_compared_in_chunks(flux, monkeypatch):
    found = []
    for values in (2**17, 3 * 16):  # of 16 tokens with 16 channels: all at once, three at a time
        monkeypatch.setattr("painters_utils.engine.measures.CHUNK", values)
        with record_activations(flux.transformer) as recording:
            flux.output()
        found.append(recording.similarity("image"))
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)


def test_a_matrix_spans_the_stacks_and_is_sliced_by_one(flux):
    with record_activations(flux.transformer) as recording:
        flux.output()
    matrix = recording.similarity("image")
    assert matrix.shape == (57, 57)
    assert recording.layers("image")[18:20] == [("transformer_blocks", 18), ("single_transformer_blocks", 0)]
    np.testing.assert_array_equal(recording.similarity("image", stack="transformer_blocks"), matrix[:19, :19])
    np.testing.assert_array_equal(recording.similarity("image", stack="single_transformer_blocks"), matrix[19:, 19:])
    assert recording.layers("text", "single_transformer_blocks")[-1] == ("single_transformer_blocks", 37)
    assert recording.norms("image", stack="transformer_blocks").shape == (1, 19)


@pytest.mark.parametrize(
    "timesteps, batches, per_call",
    [((0.7,), (2, 2), 1), ((0.7, 0.3), (2, 4), 2), ((0.7, 0.3), (2, 2), 2), ((0.3, 0.7), (2, 2), 2)],
)
def test_a_call_ends_when_the_timestep_stays_or_turns_back(sd3, timesteps, batches, per_call):
    with everything_kept(sd3.transformer) as steps, record_activations(sd3.transformer) as recording:
        denoise(sd3, batches, timesteps)
    expected = reference(steps, "image", "timesteps", whole, per_call=per_call)
    np.testing.assert_allclose(recording.similarity("image", "timesteps"), expected, atol=1e-5)


def test_a_call_ends_when_the_batch_changes(sd3):
    with everything_kept(sd3.transformer) as steps, record_activations(sd3.transformer) as recording:
        denoise(sd3, [2], [0.9])
        denoise(sd3, [3], [0.8])
    expected = reference(steps, "image", "timesteps", whole, per_call=1)
    np.testing.assert_allclose(recording.similarity("image", "timesteps"), expected, atol=1e-5)


# -- what cannot be compared ----------------------------------------------------------------------------------


def test_vectors_without_length_are_similar_to_nothing(sd3):
    with block_replaced(sd3, 3, lambda text, image: (text, torch.zeros_like(image))):
        with record_activations(sd3.transformer) as recording:
            sd3.output()
    assert recording.finite
    assert not recording.similarity("image")[3].any()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_flagged_once(sd3, value):
    with pytest.warns(RuntimeWarning, match=r"transformer_blocks 20 \(image\) at timestep 500 on") as warned:
        with block_replaced(sd3, 20, lambda text, image: (text, torch.full_like(image, value))):
            with record_activations(sd3.transformer) as recording:
                sd3.output()
                sd3.output()
    assert len(warned) == 1 and not recording.finite
    assert np.isnan(recording.similarity("image")[20:]).all()
    assert np.isfinite(recording.similarity("image")[:20, :20]).all()


def block_replaced(toy: Toy, index: int, function):
    blocks = list(toy.transformer.transformer_blocks)
    blocks[index] = Always(function)
    return in_place_of(toy.transformer, {"transformer_blocks": blocks})


class Always(nn.Module):
    """A block that returns a function of (text, image) and nothing else."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, hidden_states, encoder_hidden_states, **others):
        return self.function(encoder_hidden_states, hidden_states)


# -- undone, nested, reordered --------------------------------------------------------------------------------


def test_changes_nothing_and_leaves_nothing(toy):
    before = toy.output()
    attributes = set(vars(toy.transformer))
    with record_activations(toy.transformer):
        assert torch.equal(toy.output(), before)
    with pytest.raises(KeyError):
        with record_activations(toy.transformer):
            raise KeyError
    assert set(vars(toy.transformer)) == attributes
    assert not toy.transformer._forward_hooks and not toy.transformer._forward_pre_hooks
    assert torch.equal(toy.output(), before)


def test_blocks_keep_their_own_attributes(sd3):
    residual = dict(block_controlnet_hidden_states=[torch.ones(2, 16, 16)])  # forward reads `context_pre_only` then
    changed = Toy(sd3.transformer, sd3.inputs | residual)
    before = changed.output()
    assert not torch.equal(before, sd3.output())
    with record_activations(sd3.transformer):
        assert torch.equal(changed.output(), before)


def test_recordings_nest(flux):
    with record_activations(flux.transformer) as alone:
        flux.output()
    with record_activations(flux.transformer) as outer:
        with record_activations(flux.transformer, measure="centred cosine") as inner:
            flux.output()
    np.testing.assert_array_equal(outer.similarity("image"), alone.similarity("image"))
    assert np.abs(inner.similarity("image") - alone.similarity("image")).max() > 0.01


def test_a_reordered_run_is_recorded_position_by_position(flux):
    order = [0, 1, 1, 5, 4, 18]
    with layer_order(flux.transformer, {"transformer_blocks": order}):
        with everything_kept(flux.transformer) as steps, record_activations(flux.transformer) as recording:
            denoise(flux)
        reordered = flux.output()
    assert not torch.equal(reordered, flux.output())
    assert recording.layers("image", "transformer_blocks") == [("transformer_blocks", place) for place in range(6)]
    expected = reference(steps, "image", "after", whole)
    np.testing.assert_allclose(recording.similarity("image"), expected, atol=1e-5)


def test_parallel_groups_are_one_layer_each(auraflow):
    with layer_order(auraflow.transformer, {"joint_transformer_blocks": [0, [1, 2], 3]}):
        with record_activations(auraflow.transformer) as recording:
            auraflow.output()
    assert {stream: len(layers) for stream, layers in recording.streams.items()} == {"image": 3, "text": 3, "joint": 32}


def test_an_order_inside_the_recording_is_refused(flux):
    with record_activations(flux.transformer):
        with layer_order(flux.transformer, {"transformer_blocks": [0, 1]}):
            with pytest.raises(InputError, match="inside `layer_order`"):
                flux.output()


@pytest.mark.slow
def test_compiled_blocks_are_recorded(auraflow):
    transformer = deepcopy(auraflow.transformer)
    with record_activations(transformer) as eager:
        Toy(transformer, auraflow.inputs).output()
    for block in transformer.single_transformer_blocks:
        block.compile(backend="eager")
    with record_activations(transformer) as compiled:
        Toy(transformer, auraflow.inputs).output()
    np.testing.assert_allclose(compiled.similarity("joint"), eager.similarity("joint"), atol=1e-6)


def test_whatever_mode_the_pipeline_runs_in(sd3):
    with record_activations(sd3.transformer) as plain:
        denoise(sd3, [2])
    with record_activations(sd3.transformer) as recording:
        with torch.inference_mode():
            denoise(sd3, [2])
        denoise(sd3, [2])  # the same pictures into the same memory, now outside inference mode
    for average in AVERAGES:
        expected = plain.similarity("image", average)
        np.testing.assert_allclose(recording.similarity("image", average), expected, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        with everything_kept(sd3.transformer) as steps, record_activations(sd3.transformer) as mixed:
            denoise(sd3)
    expected = reference(steps, "image", "after", whole)
    np.testing.assert_allclose(mixed.similarity("image"), expected, atol=1e-5)


def test_past_steps_are_forgotten(flux):
    seen: list[weakref.ref] = []
    alive: list[int] = []

    def watch(transformer, args, kwargs):
        alive.append(sum(tensor() is not None for tensor in seen))

    def see(block, args, output):
        seen.append(weakref.ref(output[1]))

    hooks = [flux.transformer.register_forward_pre_hook(watch, with_kwargs=True)]
    hooks += [block.register_forward_hook(see) for block in flux.transformer.transformer_blocks]
    with record_activations(flux.transformer):
        denoise(flux)
    for hook in hooks:
        hook.remove()
    assert len(seen) == 6 * 19 and alive == [0] * 6


# -- streams of blocks that are not one of the three ----------------------------------------------------------


class Model(nn.Module):
    """A DiT reduced to what the recorder sees: blocks that pass text and image on in either order."""

    def __init__(self, depth: int, image_first: bool):
        super().__init__()
        self.blocks = nn.ModuleList([Pair(image_first) for _ in range(depth)])

    def forward(self, hidden_states, timestep, encoder_hidden_states):
        image, text = hidden_states, encoder_hidden_states
        for block in self.blocks:
            out = block(image, text)
            image, text = out if block.image_first else out[::-1]
        return image


class Pair(nn.Module):
    def __init__(self, image_first: bool):
        super().__init__()
        self.image_first = image_first
        self.attention = nn.Identity()  # which makes it a block

    def forward(self, hidden_states, encoder_hidden_states):
        image, text = hidden_states + 1, encoder_hidden_states * 2
        return (image, text) if self.image_first else (text, image)


@pytest.mark.parametrize("image_first", [True, False])
@pytest.mark.parametrize("depth, text_tokens", [(3, 5), (3, 4), (1, 5)], ids=["usual", "as many tokens", "one block"])
def test_streams_are_told_apart(image_first, depth, text_tokens):
    model = Model(depth, image_first)
    with record_activations(model) as recording:
        model(torch.ones(2, 4, 8), torch.tensor([0.5]), torch.ones(2, text_tokens, 8))
    by_depth = np.arange(1, depth + 1)
    np.testing.assert_allclose(recording.norms("image")[0], (1 + by_depth) * 8**0.5, rtol=1e-6)
    np.testing.assert_allclose(recording.norms("text")[0], 2.0**by_depth * 8**0.5, rtol=1e-6)


def test_layers_of_two_precisions_are_kept_in_the_finer_one():
    model = Model(2, True)
    model.blocks[1].register_forward_hook(lambda block, args, output: tuple(part.bfloat16() for part in output))
    with record_activations(model) as recording:
        model(torch.full((2, 4, 1), 0.001), torch.tensor([0.5]), torch.ones(2, 5, 1))
    np.testing.assert_allclose(recording.norms("image"), [[1.001, 2]], atol=1e-6)  # 1.001 would be 1 in bfloat16


def test_streams_that_cannot_be_told_apart_are_refused():
    model = Model(1, True)
    with pytest.raises(InputError, match="cannot tell text from image in blocks 0"):
        with record_activations(model):
            model(torch.ones(2, 4, 8), torch.tensor([0.5]), torch.ones(2, 4, 8))


# -- files and bad input --------------------------------------------------------------------------------------


def test_saved_and_loaded(flux, tmp_path):
    with record_activations(flux.transformer, guided=True) as recording:
        denoise(flux, guided=True)
    recording.save(tmp_path / "flux.1")
    loaded = Recording.load(tmp_path / "flux.1")
    assert loaded.streams == recording.streams and loaded.timesteps == recording.timesteps
    for average in AVERAGES:
        for half in HALVES:
            np.testing.assert_array_equal(
                loaded.similarity("text", average, half), recording.similarity("text", average, half)
            )
    np.testing.assert_array_equal(loaded.norms("image"), recording.norms("image"))
    np.savez(tmp_path / "other.npz", numbers=np.ones(3))
    with pytest.raises(InputError, match="holds no recording"):
        Recording.load(tmp_path / "other.npz")


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(averages=["befor"]), "unknown average 'befor'"),
        (dict(measure="cosin"), "unknown measure 'cosin': choose one of cosine"),
        (dict(stacks=["transformer_block"]), "unknown stack 'transformer_block': choose one of transformer_blocks"),
    ],
)
def test_unknown_options_are_refused(flux, options, message):
    with pytest.raises(InputError, match=message):
        with record_activations(flux.transformer, **options):
            pass


def test_only_what_was_asked_for_is_recorded(flux):
    with record_activations(flux.transformer, averages=["after"], stacks=["transformer_blocks"]) as recording:
        flux.output()
        assert recording.similarity("image").shape == (19, 19)  # readable while recording
    for question, message in [
        (lambda: recording.similarity("image", "both"), "average 'both' was not recorded"),
        (lambda: recording.similarity("image", "mean"), "unknown average 'mean'"),
        (lambda: recording.similarity("img"), "unknown stream 'img': choose one of image"),
        (lambda: recording.similarity("image", half="unconditional"), "half 'unconditional' was not recorded"),
        (lambda: recording.similarity("image", stack="single"), "unknown stack of the image stream 'single'"),
    ]:
        with pytest.raises(InputError, match=message):
            question()


def test_nothing_was_recorded(flux):
    with record_activations(flux.transformer) as recording:
        pass
    with pytest.raises(InputError, match="nothing was recorded"):
        recording.similarity("image")


def test_calls_that_cannot_be_recorded_are_refused(flux):
    for batch in (3, 4):
        with record_activations(flux.transformer, guided=True):
            with pytest.raises(InputError, match=f"batch of {batch} whose halves are not the same latents"):
                denoise(flux, [batch])
    with record_activations(flux.transformer) as recording:
        denoise(flux)
        with pytest.raises(InputError, match="record one picture size at a time"):
            shorter = dict(encoder_hidden_states=torch.ones(2, 2, 16), txt_ids=torch.zeros(2, 3))
            denoise(flux, [2], **shorter)
    assert len(recording.timesteps) == 3
    with pytest.raises(InputError, match="was given no `timestep`"):
        with record_activations(flux.transformer):
            flux.transformer(**flux.inputs | {"timestep": None})
