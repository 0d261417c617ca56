"""Two transformers that read chemical reactions, and how well they do under any order of their layers.

    exam = Exam(load_reader("rxnfp"), load_reactions())
    exam.right([0, 1, 2, 3, 4, 7, 8, 9, 10, 11]).mean()  # without layers 5 and 6

No one here trained them, and they paint nothing: a check of the engine, and of the method, on the kind of model that
the paper is about. `rxnfp` is a BERT with 12 layers of its own, `rxnmapper` an ALBERT, whose one layer was trained to
run 12 times over. Both were trained to fill in masked tokens, so that what they know can be counted exactly.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from transformers import AlbertForMaskedLM, BertForMaskedLM

from painters_utils.engine.orders import Order
from painters_utils.engine.rearrange import layer_order
from painters_utils.engine.recorder import record_activations
from painters_utils.errors import InputError, unknown
from painters_utils.files import write_whole
from painters_utils.paths import DATA, ROOT

from . import wheels

# A SMILES text falls into atoms, bonds, branches, ring numbers and signs between molecules (Schwaller et al. 2018).
TOKENS = re.compile(r"\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|/|:|~|@|\?|>>?|\*|\$|%\d\d|\d")
EVERY = 7  # one token in seven is masked, about the 15 % of the models' own training
LONGEST = 512  # tokens with the signs for begin and end; there are no more positions


@dataclass(frozen=True, eq=False)
class Reader:
    """A model that fills in masked tokens. `owner` holds its `stack` of layers; `usual` is the order that it was
    trained in, which `Exam` lays over it: an ALBERT by itself would run its one layer once."""

    name: str
    title: str
    model: Any  # of transformers, as it is
    owner: nn.Module
    stack: str
    usual: Order
    vocabulary: Mapping[str, int]
    fingerprint: str  # of the weights

    def ids(self, reaction: str) -> Tensor:
        """A reaction's tokens by number, (tokens + 2,), with those for begin and end; `InputError` if it has others."""
        tokens = TOKENS.findall(reaction)
        if "".join(tokens) != reaction or ">>" not in tokens:
            raise InputError(f"{reaction!r} is no reaction: write SMILES of what goes in, >>, SMILES of what comes out")
        if strange := [token for token in tokens if token not in self.vocabulary]:
            raise InputError(f"{self.name} does not know {strange[0]!r}: leave out {reaction!r}")
        if len(tokens) + 2 > LONGEST:
            raise InputError(f"{reaction[:40]}… has {len(tokens)} tokens: {LONGEST - 2} at most can be read")
        return torch.tensor([self.vocabulary[token] for token in ("[CLS]", *tokens, "[SEP]")])


def load_reader(name: str, cache: Path = wheels.CACHE) -> Reader:
    """`rxnfp` or `rxnmapper`, fetched if need be (see `wheels`); `InputError` if it cannot be had."""
    if name not in (known := {"rxnfp": "BERT", "rxnmapper": "ALBERT"}):
        raise unknown("reader of reactions", name, known)
    weights, folder = wheels.load_weights(name, cache), wheels.fetch(name, cache)
    vocabulary = {token: number for number, token in enumerate((folder / "vocab.txt").read_text().splitlines())}
    kind = BertForMaskedLM if name == "rxnfp" else AlbertForMaskedLM
    model = kind(kind.config_class.from_json_file(folder / "config.json")).eval()
    missing = model.load_state_dict(weights, strict=False).missing_keys  # what is too much is another task's head
    if lacking := set(missing) - set(model._tied_weights_keys):
        raise InputError(f"{name} lacks {min(lacking)} in this version of transformers: install requirements.txt")
    return as_reader(model, name, vocabulary, wheels.WHEELS[name].weights)


def as_reader(model: Any, name: str, vocabulary: Mapping[str, int], fingerprint: str = "") -> Reader:
    """A BERT or an ALBERT of transformers that fills in masked tokens, with the list of its layers found."""
    encoder = model.base_model.encoder
    depth: int = encoder.config.num_hidden_layers
    if isinstance(model, BertForMaskedLM):
        return Reader(name, "BERT", model, encoder, "layer", [*range(depth)], vocabulary, fingerprint)
    # How often the layer of an ALBERT runs is a number in its configuration. Once there, and the rest in the order.
    encoder.config.num_hidden_layers = 1
    group = encoder.albert_layer_groups[0]
    return Reader(name, "ALBERT", model, group, "albert_layers", [0] * depth, vocabulary, fingerprint)


def load_reactions() -> dict[str, str]:
    """The textbook reactions of data/reactions.yaml: {name: SMILES}."""
    return yaml.safe_load((DATA / "reactions.yaml").read_text())


def masked(ids: Tensor, mask: int) -> tuple[Tensor, Tensor]:
    """A reaction EVERY times over, (EVERY, tokens + 2), each time with other tokens masked, and where they are.

    All of them together mask every token exactly once, so that nothing is drawn and a score has no noise of its own.
    """
    hidden = torch.zeros(EVERY, len(ids), dtype=torch.bool)
    for row in range(EVERY):
        hidden[row, 1 + row : -1 : EVERY] = True
    return ids.repeat(EVERY, 1).masked_fill(hidden, mask), hidden


class Exam:
    """How many masked tokens a reader fills in rightly, reaction by reaction, under any order of its layers.

    Every reaction is checked before anything is computed. With a folder `out` what is found is kept there, order by
    order, so that an exam that was stopped goes on where it was.
    """

    def __init__(self, reader: Reader, reactions: Mapping[str, str], out: str | Path | None = None) -> None:
        if not reactions:
            raise InputError("there are no reactions to read: give some, or those of load_reactions()")
        self.reader, self.reactions = reader, list(reactions.values())
        self.ids = [reader.ids(reaction) for reaction in self.reactions]
        about = json.dumps([reader.fingerprint, self.reactions, EVERY])
        name = f"exam-{reader.name}-{hashlib.sha256(about.encode()).hexdigest()[:12]}.json"
        self.path = ROOT / out / name if out else None
        self.found: dict[str, list[float]] = {}
        if self.path and self.path.exists():
            try:
                self.found = json.loads(self.path.read_text())
            except ValueError as error:
                raise InputError(f"{self.path} is damaged ({error}): delete it") from error

    def right(self, order: Order | None = None) -> np.ndarray:
        """The share of each reaction's tokens that are told, (reactions,); without an order that of the full model."""
        order = self.reader.usual if order is None else order
        with layer_order(self.reader.owner, {self.reader.stack: order}):  # a bad order is refused here
            if (key := json.dumps(order)) not in self.found:
                self.found[key] = [self._right(ids) for ids in self.ids]
                if self.path:
                    with write_whole(self.path) as unfinished:
                        unfinished.write_text(json.dumps(self.found))
        return np.array(self.found[key])

    def kept(self, order: Order) -> np.ndarray:
        """What an order keeps, reaction by reaction: the mean is 1 for the full model and 0 for a guess.

        As in the study of painters: each reaction is held against the full model's own reading of it.
        """
        full = self.right()
        return 1 - (full - self.right(order)) / (full.mean() - self.chance)

    @property
    def chance(self) -> float:
        """What always guessing the commonest token of all reactions gets right."""
        counts = Counter(torch.cat([ids[1:-1] for ids in self.ids]).tolist())
        commonest = counts.most_common(1)[0][0]
        return float(np.mean([(ids[1:-1] == commonest).float().mean() for ids in self.ids]))

    @torch.inference_mode()
    def _right(self, ids: Tensor) -> float:
        given, hidden = masked(ids, self.reader.vocabulary["[MASK]"])
        told = self.reader.model(input_ids=given).logits.argmax(-1)
        return float((told == ids)[hidden].float().mean())


def similarities(reader: Reader, reactions: Sequence[str], measure: str = "cosine") -> np.ndarray:
    """How alike the layers' activations are in each reaction, nothing masked: (reactions, layers, layers).

    `measure` is one of the recorder's, see `painters_utils/engine/measures.py`.
    """
    found = []
    with layer_order(reader.owner, {reader.stack: reader.usual}), torch.inference_mode():
        for reaction in reactions:
            with record_activations(reader.owner, averages=["after"], measure=measure) as recording:
                reader.model(input_ids=reader.ids(reaction)[None])
            found.append(recording.similarity("joint"))
    return np.stack(found)
