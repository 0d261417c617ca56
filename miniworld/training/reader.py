"""Teach a T5 to read captions before it serves a painter.

The originals' T5 had read much of the web before; a mini's starts from nothing. Trained with its painter alone it stays
a reader of single words: at "dog" in "a red dog left of a yellow cat" a linear probe of its output found the colour in
19 of 100 captions (chance: 12), and the painter mixed up which thing is red. Taught to read first, in two minutes, it
says at each noun what the caption says of that thing, in all captions. Learning on beside its painter it forgets what
the painter doesn't use yet, places above all: so it learns nothing more once it can read.
"""

import copy
import random

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from tqdm import tqdm
from transformers import BatchEncoding, PreTrainedTokenizerFast, T5EncoderModel, UMT5EncoderModel

from miniworld.scenes import BACKGROUNDS, COLOURS, OBJECTS, PATTERNS, RELATIONS, Scene, caption, plural, sample_scene

# What is asked at a noun, and the answers there are. A thing's place is the relation and which of the two things it is.
FACTS = {
    "kind": OBJECTS,
    "colour": (*COLOURS, None),
    "hat": (*COLOURS, None),
    "sunglasses": (*COLOURS, None),
    "place": tuple((relation, which) for relation in (*RELATIONS, None) for which in (0, 1)),
    "count": (1, 2, 3, 4),
    "background": BACKGROUNDS,
    "pattern": PATTERNS,
}


BLUR = 0.7  # noise on what the facts are read from, in its spread: a fact whispered is a fact that no painter hears
LIKENESS = 5.0  # how much a mended encoder is held to its former output, against the loss of one fact


def learn_to_read(
    encoder: T5EncoderModel | UMT5EncoderModel, tokenizer: PreTrainedTokenizerFast, steps: int,
    batch: int = 256, rate: float = 2e-3, seed: int = 0, mend: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Train `encoder` in place so that a linear layer at each noun tells the FACTS of that thing.

    `mend`: a painter knows this encoder already, so its output shall change no more than reading asks for.
    Returns the share of right answers for each fact in the last batch, which is new as every batch is.
    """
    device = encoder.device
    before = copy.deepcopy(encoder).requires_grad_(False) if mend else None
    heads = nn.ModuleDict({fact: nn.Linear(encoder.config.d_model, len(FACTS[fact])) for fact in FACTS}).to(device)
    parameters = [*encoder.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 100, 3 * (steps - step) / steps)
    )
    rng = random.Random(f"{seed}/reading")
    right = {}
    for _ in tqdm(range(steps), desc="reading", unit="step"):
        tokens, nouns, answers = find_nouns(tokenizer, [sample_scene(rng) for _ in range(batch)], device)
        states = encode(encoder, tokens)
        heard = states[nouns] + BLUR * states[nouns].detach().std() * torch.randn(states[nouns].shape).to(states)
        said = {fact: heads[fact](heard) for fact in FACTS}
        loss = sum(cross_entropy(said[fact], answers[fact]) for fact in FACTS)
        if before is not None:
            words, known = tokens.attention_mask.bool(), encode(before, tokens)
            loss = loss + LIKENESS * mse_loss(states[words], known[words]) / known[words].var()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        right = {fact: (said[fact].argmax(1) == answers[fact]).float().mean().item() for fact in FACTS}
    return right


def encode(encoder: T5EncoderModel | UMT5EncoderModel, tokens: BatchEncoding) -> Tensor:
    """The encoder's output for each token, (captions, tokens, d_model)."""
    return encoder(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state


def find_nouns(
    tokenizer: PreTrainedTokenizerFast, scenes: list[Scene], device: torch.device | str = "cpu"
) -> tuple[BatchEncoding, tuple[list[int], list[int]], dict[str, Tensor]]:
    """The scenes' captions as tokens, where their nouns stand (rows, columns), and the answers there (nouns,)."""
    tokens = tokenizer(
        [caption(scene) for scene in scenes], padding="max_length", truncation=True, return_tensors="pt"
    ).to(device)
    places: list[tuple[int, int]] = []
    answers: dict[str, list[int]] = {fact: [] for fact in FACTS}
    for row, scene in enumerate(scenes):
        words, end = tokenizer.convert_ids_to_tokens(tokens.input_ids[row]), 0
        for which, thing in enumerate(scene.things[:1] if scene.phrase == "count" else scene.things):
            noun = plural(thing.kind) if scene.phrase == "count" else thing.kind
            end = words.index(noun.split()[-1], end) + 1
            places.append((row, end - 1))
            related = scene.phrase in RELATIONS
            facts = {
                "kind": thing.kind,
                "colour": thing.colour,
                "hat": thing.hat,
                "sunglasses": thing.sunglasses,
                "place": (scene.phrase, which) if related else (None, 0),
                "count": len(scene.things),
                "background": scene.background,
                "pattern": scene.pattern,
            }
            for fact, value in facts.items():
                answers[fact].append(FACTS[fact].index(value))
    rows, columns = ([place[i] for place in places] for i in (0, 1))
    return tokens, (rows, columns), {fact: torch.tensor(answers[fact], device=device) for fact in FACTS}
