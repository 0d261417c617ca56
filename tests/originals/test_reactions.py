"""Readers of reactions: every token is asked for once, scores are what was planted, orders are those of the engine."""

import json

import numpy as np
import pytest
import torch
from notebook_cells import run_cells
from torch import nn
from transformers import AlbertForMaskedLM, BertForMaskedLM

from originals import wheels
from originals.reactions import EVERY, TOKENS, Exam, as_reader, load_reactions, load_reader, masked, similarities
from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.recorder import record_activations
from painters_utils.errors import InputError

VOCABULARY = {token: number for number, token in enumerate("[PAD] [CLS] [SEP] [MASK] C O = ( ) . >>".split())}
FEW = {"an ester": "CCO.CC(=O)O>>CCOC(C)=O", "a ketone": "CC(O)C>>CC(=O)C"}
SIZES = dict(vocab_size=len(VOCABULARY), hidden_size=16, num_attention_heads=2, intermediate_size=16)


def toy_model(kind: type[nn.Module]) -> nn.Module:
    """A small BERT or ALBERT of four layers whose weights are large enough for every layer to count."""
    torch.manual_seed(0)
    own = dict(embedding_size=8) if kind is AlbertForMaskedLM else {}
    model = kind(kind.config_class(num_hidden_layers=4, **own, **SIZES))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(params=[BertForMaskedLM, AlbertForMaskedLM])
def reader(request):
    return as_reader(toy_model(request.param), "toy", VOCABULARY)


@pytest.fixture
def bert():
    return as_reader(toy_model(BertForMaskedLM), "toy", VOCABULARY)


def logits(reader, order, ids):
    with torch.no_grad(), layer_order(reader.owner, {reader.stack: order}):
        return reader.model(input_ids=ids).logits


# -- orders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [BertForMaskedLM, AlbertForMaskedLM])
def test_the_usual_order_is_the_model_itself(kind):
    ids = torch.randint(4, len(VOCABULARY), (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        untouched = toy_model(kind)(input_ids=ids).logits
    reader = as_reader(toy_model(kind), "toy", VOCABULARY)
    assert len(reader.usual) == 4
    assert torch.equal(logits(reader, reader.usual, ids), untouched)
    assert not torch.allclose(logits(reader, reader.usual[:-1], ids), untouched)


def test_skipping_is_deleting_and_looping_is_more_of_the_same():
    ids = torch.randint(4, len(VOCABULARY), (1, 9), generator=torch.Generator().manual_seed(1))
    model = toy_model(BertForMaskedLM)
    del model.bert.encoder.layer[2]
    with torch.no_grad():
        deleted = model(input_ids=ids).logits
    assert torch.equal(logits(as_reader(toy_model(BertForMaskedLM), "toy", VOCABULARY), [0, 1, 3], ids), deleted)

    model = toy_model(AlbertForMaskedLM)
    model.albert.encoder.config.num_hidden_layers = 7
    with torch.no_grad():
        looped = model(input_ids=ids).logits
    reader = as_reader(toy_model(AlbertForMaskedLM), "toy", VOCABULARY)
    assert torch.equal(logits(reader, [0] * 7, ids), looped)


# -- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [3, 7, 8, 30])
def test_every_token_is_masked_once_and_the_ends_never(length):
    ids = torch.arange(10, 12 + length)
    given, hidden = masked(ids, mask=3)
    assert given.shape == hidden.shape == (EVERY, length + 2)
    assert hidden.sum(0).tolist() == [0, *[1] * length, 0]
    assert (given[hidden] == 3).all() and torch.equal(given[~hidden], ids.expand_as(given)[~hidden])


def test_scores_are_what_was_planted(bert):
    """A model that always says C: right wherever there is a C, which is the chance of this vocabulary."""
    with torch.no_grad():
        bert.model.cls.predictions.bias[VOCABULARY["C"]] = 1e6
    exam = Exam(bert, FEW)
    shares = [TOKENS.findall(text).count("C") / len(TOKENS.findall(text)) for text in FEW.values()]
    assert np.allclose(exam.right(), shares)
    assert exam.chance == pytest.approx(np.mean(shares))


def test_one_is_the_full_model_and_zero_a_guess(bert):
    exam = Exam(bert, FEW)
    exam.found = {"[0, 1, 2, 3]": [0.9, 0.7], "[0]": [exam.chance, exam.chance], "[3]": [0.9, 0.7]}
    assert exam.kept([3]).tolist() == [1, 1]
    assert exam.kept([0]).mean() == pytest.approx(0)


def test_an_exam_goes_on_where_it_was(bert, tmp_path, monkeypatch):
    found = Exam(bert, FEW, tmp_path).right([0, 1])
    again = Exam(bert, FEW, tmp_path)
    monkeypatch.setattr(again, "_right", lambda _: pytest.fail("it was asked again"))
    assert np.array_equal(again.right([0, 1]), found)
    other = Exam(bert, dict(list(FEW.items())[:1]), tmp_path)
    assert other.path != again.path, "other reactions are another exam"
    again.path.write_text("{")
    with pytest.raises(InputError, match="damaged .*: delete it"):
        Exam(bert, FEW, tmp_path)


@pytest.mark.parametrize(
    ("reaction", "message"),
    [
        ("CCO", r"'CCO' is no reaction"),
        ("C C>>CC", r"no reaction"),
        ("CN>>CO", r"toy does not know 'N'"),
        ("C" * 600 + ">>C", r"has 602 tokens: 510 at most"),
    ],
)
def test_bad_reactions_are_refused_before_anything_runs(bert, reaction, message, monkeypatch):
    monkeypatch.setattr(bert.model, "forward", lambda *_, **__: pytest.fail("the model ran"))
    with pytest.raises(InputError, match=message):
        Exam(bert, FEW | {"bad": reaction})


def test_other_bad_input(bert):
    with pytest.raises(InputError, match="no reactions"):
        Exam(bert, {})
    with pytest.raises(InputError, match="layer 4 of layer does not exist"):
        Exam(bert, FEW).right([0, 4])
    with pytest.raises(InputError, match="unknown reader of reactions 'bert'"):
        load_reader("bert")


# -- recordings -------------------------------------------------------------------------------------------------------


def test_layers_are_compared_reaction_by_reaction(reader):
    found = similarities(reader, list(FEW.values()))
    assert found.shape == (2, 4, 4) and np.allclose(np.diagonal(found, axis1=1, axis2=2), 1, atol=1e-6)
    kept = []
    layer = getattr(reader.owner, reader.stack)[-1]
    hook = layer.register_forward_hook(lambda _, __, output: kept.append(output))
    ids = reader.ids(FEW["an ester"])[None]
    with torch.no_grad(), layer_order(reader.owner, {reader.stack: [*reader.usual, reader.usual[-1]]}):
        reader.model(input_ids=ids)
    hook.remove()
    with layer_order(reader.owner, {reader.stack: [*reader.usual, reader.usual[-1]]}), torch.no_grad():
        with record_activations(reader.owner, averages=["after"]) as recording:
            reader.model(input_ids=ids)
    by_hand = torch.cosine_similarity(kept[-2], kept[-1], dim=-1).mean().item()
    assert recording.similarity("joint")[3, 4] == pytest.approx(by_hand, abs=1e-5)


# -- the real ones ----------------------------------------------------------------------------------------------------


def test_the_reactions_are_reactions():
    every = load_reactions()
    assert len(every) >= 100 and len(set(every.values())) == len(every)
    for name, reaction in every.items():
        tokens = TOKENS.findall(reaction)
        assert "".join(tokens) == reaction and tokens.count(">>") == 1, name
        before = reaction.split(">>")[0].split(".")
        assert before == sorted(before), f"{name}: what goes in is sorted, as the models know it"


fetched = pytest.mark.skipif(not all(map(wheels.is_here, wheels.WHEELS)), reason="run python -m originals.wheels")


@pytest.mark.slow
@fetched
def test_the_real_ones_read():
    some = dict(list(load_reactions().items())[::12])
    bert, albert = (Exam(load_reader(name), some) for name in ("rxnfp", "rxnmapper"))
    assert bert.right().mean() > 0.8 and albert.right().mean() > 0.9
    assert bert.kept([0, 1, 2, 3, 4, 7, 8, 9, 10, 11]).mean() > 0.9, "two middle layers are hardly missed"
    assert bert.kept(list(range(12))[::-1]).mean() < 0.2
    assert albert.kept([0] * 11).mean() > 0.95 > albert.kept([0]).mean()


@pytest.mark.slow
@fetched
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    names = run_cells("21_bert", out=str(tmp_path), count=2, draws=2, most_loops=2, loops=[1, 12])
    found = json.loads((tmp_path / "21_bert.json").read_text())
    assert found["albert"]["12"][0] == 1 and len(found["sweep"]) == 30
    cases = {
        (0.1, 0.2, 0): "holds", (-0.04, 0.04, 0): "no difference", (-0.2, -0.1, 0): "does not hold",
        (-0.1, 0.1, 0): "undecided", (0.6, 0.7, 0.5): "holds",
    }  # fmt: skip
    assert {ends: names["verdict"](*ends) for ends in cases} == cases
