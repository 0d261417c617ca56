"""The minis' training at toy size: it learns, it resumes, it leaves pipelines that load."""

import dataclasses
import random
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from diffusers import AutoencoderKL, DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

from miniworld import metrics
from miniworld.metrics import fewest_steps, measured_minis, mini_folder, mini_scores
from miniworld.pictures import save_grid
from miniworld.render import render
from miniworld.scenes import (
    NUMBERS,
    RELATIONS,
    UNSEEN_PAIRS,
    Scene,
    Thing,
    caption,
    sample_scene,
    unseen_scenes,
    vocabulary,
)
from miniworld.training import (
    __main__ as train,
    card,
    checker as train_checker,
    decoder,
    latents,
    loop,
    mini as train_mini,
    pools,
)
from miniworld.training.checkpoint import load_checkpoint, save_checkpoint
from miniworld.training.evaluate import grey_levels_apart, through_vae
from miniworld.training.loop import Loop, cosine, read_record
from miniworld.training.mini import Recipe
from miniworld.training.models import MINIS, build_tokenizer, build_vae
from miniworld.training.muon import ConvMuon
from miniworld.training.reader import FACTS, encode, find_nouns, learn_to_read
from miniworld.training.vae import NARROW, narrow, random_crops, train_vae
from painters_utils.engine.stacks import find_stacks
from painters_utils.errors import InputError
from painters_utils.models.loading import load_pipeline
from painters_utils.models.model import Model
from painters_utils.paths import DATA, ROOT

RECIPE = Recipe(steps=6, batch=2, warmup=2, scenes=4, reading=2, compile=False)
LOAD_FINISHED = train_mini.load_finished
DEPTHS = {"flux-mini": [19, 38], "sd3-mini": [24], "auraflow-mini": [4, 32]}


@pytest.fixture(autouse=True)
def painting_threads(monkeypatch):
    """Threads paint the toy scenes: starting processes would take longer than the training."""
    monkeypatch.setattr(pools, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))


@pytest.fixture(scope="module")
def vae_folder(tmp_path_factory):
    """A VAE that has learned nothing."""
    torch.manual_seed(0)
    build_vae().save_pretrained(folder := tmp_path_factory.mktemp("vae"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", MINIS)
def test_a_killed_training_goes_on_as_if_nothing_had_happened(name, tmp_path, vae_folder, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    monkeypatch.setattr(train_mini, "look_at", lambda *_: {})
    monkeypatch.setitem(train_mini.MINIS, name, partial(MINIS[name], width=32))
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    taught = name == "flux-mini"
    recipe = dataclasses.replace(RECIPE, taught_from=3, jumps_from=4) if taught else RECIPE
    (tmp_path / "sd3-mini").symlink_to(ROOT / "data/models/sd3-mini")
    train_mini.train_mini(name, tmp_path / "one", vae_folder, whole, recipe)

    honest = train_mini.flow_matching_loss

    def killed_at_the_fourth(pipe, latents, captions, seed, **others):
        if seed % 1_000_003 == 3:
            raise KeyboardInterrupt
        return honest(pipe, latents, captions, seed, **others)

    monkeypatch.setattr(train_mini, "flow_matching_loss", killed_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        train_mini.train_mini(name, tmp_path / "two", vae_folder, parts, recipe, save_minutes=0)
    assert not (tmp_path / "two").exists()
    monkeypatch.setattr(train_mini, "flow_matching_loss", honest)
    train_mini.train_mini(name, tmp_path / "two", vae_folder, parts, recipe)

    records = [
        [{key: value for key, value in row.items() if "loss" in key} for row in read_record(path.with_suffix(".jsonl"))]
        for path in (whole, parts)
    ]
    losses = [[row for row in record if row] for record in records]
    later = [["loss to teacher"]] + [["loss of jumps"]] * 2
    assert [*map(list, losses[0])] == [["loss"]] * (3 if taught else 6) + (later if taught else [])
    assert losses[0] == losses[1]
    one, two = (load_file(path) for path in (whole, parts))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)

    assert (tmp_path / "one/vae").readlink() == Path("../vae") and (tmp_path / "vae/config.json").exists()
    pipe = DiffusionPipeline.from_pretrained(tmp_path / "one")
    assert [len(blocks) for blocks in find_stacks(pipe.transformer).values()] == DEPTHS[name]
    call = dict(Model.named(name, steps=1).call)
    assert pipe("a red dog on a white background", **call).images[0].size == (96, 96), "as it is loaded by default"


@pytest.mark.slow
def test_a_finished_mini_learns_further(tmp_path, vae_folder, monkeypatch):
    monkeypatch.setattr(train_mini, "look_at", lambda *_: {})
    monkeypatch.setattr(train_mini, "load_finished", partial(_remembered, begun := {}))
    monkeypatch.setitem(train_mini.MINIS, "sd3-mini", partial(MINIS["sd3-mini"], width=32))
    folder, longer = tmp_path / "sd3-mini", dataclasses.replace(RECIPE, steps=8)
    train_mini.train_mini("sd3-mini", folder, vae_folder, tmp_path / "one.safetensors", RECIPE)
    finished = load_file(folder / "transformer/diffusion_pytorch_model.safetensors")
    train_mini.train_mini("sd3-mini", folder, vae_folder, tmp_path / "two.safetensors", longer, further=True)
    assert all(torch.equal(begun[key], value.float()) for key, value in finished.items())
    steps = [row["step"] for row in read_record(folder / "training.jsonl")]
    assert steps == [0, 6, 6, 6, 8, 8], "readings, losses and looks"
    with pytest.raises(InputError, match="leave --further out"):
        train_mini.train_mini(
            "sd3-mini", tmp_path / "none", vae_folder, tmp_path / "three.safetensors", RECIPE, further=True
        )


def _remembered(begun, pipe, folder):
    finished = LOAD_FINISHED(pipe, folder)
    begun |= {key: value.clone() for key, value in pipe.transformer.state_dict().items()}
    return finished


def test_a_loop_learns_averages_records_and_looks(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 4)
    learner, average = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    optimizer, seen = torch.optim.SGD(learner.parameters()), []

    def loss_of(step):
        seen.append((step, optimizer.param_groups[0]["lr"]))
        return (learner(torch.ones(1, 1)) - 3).square().sum()

    toy = Loop("toy", tmp_path / "toy.safetensors", {"learner": learner, "average": average}, [optimizer],
               cosine(0.1, 2, 10), 10, batch=1, save_minutes=0, look=lambda step: {"looked": step})  # fmt: skip
    assert not toy.resume()
    toy.run(loss_of, called=lambda step: "late" if step > 4 else "early")
    assert [step for step, _ in seen] == list(range(10))
    assert seen[0][1] == pytest.approx(0.05) and max(rate for _, rate in seen) < 0.1 and seen[-1][1] < 0.01
    record = read_record(tmp_path / "toy.jsonl")
    said = [(row["step"], *(key for key in row if key not in ("step", "images_per_s"))) for row in record]
    assert said == [(4, "early"), (4, "looked"), (8, "late"), (8, "looked"), (10, "late"), (10, "looked")]
    assert average.weight.item() != learner.weight.item()
    assert load_file(tmp_path / "toy.safetensors").keys() == {
        "learner/weight", "learner/bias", "average/weight", "average/bias",
    }  # fmt: skip
    assert toy.resume() and toy.start == 10 and toy.record == record, "the record is read back"


@pytest.mark.slow
def test_a_killed_checker_training_goes_on_as_if_nothing_had_happened(tmp_path, vae_folder, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    toy = dict(steps=8, batch=8, pool=16)  # a pool serves eight steps, so a second one is painted too
    train_checker.train_checker(tmp_path / "one.safetensors", vae_folder, tmp_path / "whole.safetensors", **toy)
    honest, calls = train_checker.checker_loss, []

    def killed_at_the_sixth(*given):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return honest(*given)

    monkeypatch.setattr(train_checker, "checker_loss", killed_at_the_sixth)
    monkeypatch.setattr(train_checker, "Loop", partial(Loop, save_minutes=0))
    again = partial(
        train_checker.train_checker, tmp_path / "two.safetensors", vae_folder, tmp_path / "parts.safetensors"
    )
    with pytest.raises(KeyboardInterrupt):
        again(**toy)
    again(**toy)
    assert len(calls) == 6 + 3, "five steps were kept"
    one, two = (load_file(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_the_teachers_velocity_is_what_its_pipeline_steps_by(vae_folder):
    teacher = train_mini.Teacher(ROOT / "data/models/sd3-mini", AutoencoderKL.from_pretrained(vae_folder), RECIPE)
    pipe, noise = load_pipeline("sd3-mini"), torch.randn(1, 8, 12, 12, generator=torch.Generator().manual_seed(0))
    for prompt in ("a red dog on a white background", ""):
        after = pipe(
            prompt, latents=noise.clone(), num_inference_steps=1, guidance_scale=2.5, max_sequence_length=24,
            height=96, width=96, output_type="latent",
        ).images  # fmt: skip
        # One step from noise (σ 1) to a picture (σ 0) walks along the velocity.
        assert torch.allclose(noise - after, teacher(noise, torch.ones(1), [prompt]), atol=1e-4)


def test_a_jump_goes_where_the_teachers_pipeline_goes_in_small_steps(vae_folder):
    teacher = train_mini.Teacher(ROOT / "data/models/sd3-mini", AutoencoderKL.from_pretrained(vae_folder), RECIPE)
    pipe, noise = load_pipeline("sd3-mini"), torch.randn(1, 8, 12, 12, generator=torch.Generator().manual_seed(0))
    prompt, call = "a red dog on a white background", dict(Model.named("sd3-mini").call)
    call |= {"num_inference_steps": 3, "sigmas": [1, 2 / 3, 1 / 3], "output_type": "latent"}
    after = pipe(prompt, latents=noise.clone(), **call).images
    assert torch.allclose(noise - after, teacher.jump(noise, torch.ones(1), [prompt], width=1), atol=1e-3)


def test_jumps_begin_at_the_noise_levels_that_a_pipeline_meets():
    levels = train_mini.noise_levels(4, 200, seed=0)
    assert sorted(set(levels.tolist())) == [0.25, 0.5, 0.75, 1.0]
    assert torch.equal(levels, train_mini.noise_levels(4, 200, seed=0))


def test_what_is_asked_at_a_noun_is_what_its_caption_says_there():
    things = (Thing("dog", "red", 0.3, 0.5, 0.4, hat="blue"), Thing("teddy bear", None, 0.7, 0.5, 0.4))
    pair = Scene(things, "gray", "dotted", "left of")
    foxes = Scene((Thing("fox", "pink", 0.3, 0.5, 0.4), Thing("fox", "pink", 0.7, 0.5, 0.4)), phrase="count")
    tokenizer = build_tokenizer()

    tokens, nouns, answers = find_nouns(tokenizer, [pair, foxes])
    assert tokenizer.convert_ids_to_tokens(tokens.input_ids[nouns]) == ["dog", "bear", "foxes"]
    said = {fact: [FACTS[fact][answer] for answer in answers[fact].tolist()] for fact in FACTS}
    assert said == {
        "kind": ["dog", "teddy bear", "fox"],
        "colour": ["red", None, "pink"],
        "hat": ["blue", None, None],
        "sunglasses": [None, None, None],
        "place": [("left of", 0), ("left of", 1), (None, 0)],
        "count": [2, 2, 2],
        "background": ["gray", "gray", "white"],
        "pattern": ["dotted", "dotted", "plain"],
    }


@pytest.mark.slow
def test_a_reader_learns_to_tell_more_than_the_word_itself():
    torch.manual_seed(0)
    pipe = MINIS["auraflow-mini"](build_vae())
    right = learn_to_read(pipe.text_encoder, pipe.tokenizer, steps=120, batch=64)
    chance = {"kind": 1 / 20, "pattern": 0.6, "count": 0.44, "place": 0.5}
    assert all(right[fact] > (1 + chance[fact]) / 2 for fact in chance), right


@pytest.mark.slow
def test_a_mended_reader_says_nearly_what_it_said_before():
    def learned(mend):
        torch.manual_seed(0)
        pipe = MINIS["auraflow-mini"](build_vae())
        tokens, _, _ = find_nouns(pipe.tokenizer, [sample_scene(random.Random(seed)) for seed in range(64)])
        before = encode(pipe.text_encoder, tokens).detach()
        learn_to_read(pipe.text_encoder, pipe.tokenizer, steps=30, batch=32, mend=mend)
        return (encode(pipe.text_encoder, tokens) - before).square().mean().item() / before.var().item()

    assert learned(mend=True) < 0.5 * learned(mend=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", MINIS)
def test_shipped_readers_know_at_a_noun_what_is_said_of_its_thing(name):
    pipe, rng = load_pipeline(name), random.Random(0)
    encoder, tokenizer = train_mini.reader_of(pipe)

    def read():
        tokens, nouns, answers = find_nouns(tokenizer, [sample_scene(rng) for _ in range(1000)])
        return encode(encoder, tokens)[nouns], answers

    with torch.no_grad():
        known, new = read(), read()
    for fact in ("colour", "place"):
        probe = LogisticRegression(max_iter=300).fit(known[0], known[1][fact])
        assert probe.score(new[0], new[1][fact]) > 0.95, fact  # a reader of single words: 0.2 of colours


@pytest.mark.slow
@pytest.mark.parametrize("name", MINIS)
def test_shipped_painters_heed_which_thing_stands_where(name):
    assert train_mini.heeds_places(load_pipeline(name)) > 1.2  # 1.0: the two may be exchanged


def test_hard_scenes_are_those_that_painters_learn_last():
    rng = random.Random(0)
    usual, hard = ([draw(rng) for _ in range(2000)] for draw in (sample_scene, pools.sample_hard_scene))

    def share(scenes, has):
        return sum(map(has, scenes)) / len(scenes)

    worn = lambda scene: any(thing.hat or thing.sunglasses for thing in scene.things)  # noqa: E731
    placed = lambda scene: scene.phrase in RELATIONS  # noqa: E731
    natural = lambda scene: all(thing.colour is None for thing in scene.things)  # noqa: E731
    for has, times in ((worn, 1.6), (placed, 1.1), (natural, 2)):
        assert share(hard, has) > times * share(usual, has)
    for thing in (thing for scene in hard for thing in scene.things):
        assert (thing.kind, thing.colour) not in UNSEEN_PAIRS


def test_the_first_pools_of_scenes_can_hold_one_thing_each(vae_folder):
    with latents.LatentPools(AutoencoderKL.from_pretrained(vae_folder), 8, scenes=32, epochs=1, alone=1) as pools:
        first, second = ([words for step in steps for words in pools.batch_of(step)[1]] for steps in ((0, 3), (4, 7)))
    several = [" and ", ",", " of ", "above", "below", *NUMBERS.values()]
    assert not [words for words in first if any(sign in words.replace("hat and", "") for sign in several)]
    assert [words for words in second if any(sign in words.replace("hat and", "") for sign in several)]


@pytest.mark.slow
def test_the_vae_learns_and_resumes(tmp_path):
    def error(vae):
        pictures = random_crops(16, 32, "test")
        with torch.no_grad():
            return (vae.decode(vae.encode(pictures).latent_dist.mean).sample - pictures).abs().mean().item()

    for _ in range(2):  # the second finds everything done
        train_vae(tmp_path / "vae", tmp_path / "vae.safetensors", steps=60, batch=8, crop=32)
    trained = AutoencoderKL.from_pretrained(tmp_path / "vae")
    assert error(trained) < 0.8 * error(build_vae(deep=NARROW))
    assert trained.config.scaling_factor != 1.0
    assert trained.config.shift_factor == 0.0


def test_a_narrowed_vae_decodes_what_the_kept_components_hold():
    torch.manual_seed(0)
    wide = build_vae(16, NARROW)
    with torch.no_grad():  # eight of the sixteen channels are copies of the others: nothing needs to be lost
        for part in (wide.encoder.conv_out.weight, wide.encoder.conv_out.bias):
            part[8:16] = -part[:8]
    pictures = random_crops(8, 32, "narrow")
    vae = narrow(wide, pictures)
    with torch.no_grad():
        before = wide.decode(wide.encode(pictures).latent_dist.mean).sample
        after = vae.decode(vae.encode(pictures).latent_dist.mean).sample
    assert vae.config.latent_channels == 8
    assert torch.allclose(before, after, atol=1e-4)


def test_a_widened_vae_squeezes_as_before_and_decodes_nearly_so():
    torch.manual_seed(0)
    former, pictures = build_vae(deep=NARROW), random_crops(4, 32, "widen")
    wide = decoder.widen(former, build_vae())
    with torch.no_grad():
        before, after = (vae.encode(pictures).latent_dist.mean for vae in (former, wide))
        assert torch.allclose(before, after, atol=1e-5)
        for name, value in decoder.widen(former, build_vae(), shaken=0.0).state_dict().items():
            wide.state_dict()[name].copy_(value)
        assert torch.allclose(wide.decode(after).sample, former.decode(before).sample, atol=1e-4)


def test_muon_for_kernels_learns_and_leaves_no_gradient_behind():
    torch.manual_seed(0)
    kernel, wanted = torch.nn.Parameter(torch.randn(8, 8, 3, 3)), 0.1 * torch.randn(8, 8, 3, 3)
    optimizer, losses = ConvMuon([kernel], lr=0.1), []
    for _ in range(60):
        loss = (kernel - wanted).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0] and kernel.grad is None


@pytest.mark.slow
def test_the_shipped_vae_paints_what_its_latents_know():
    vae = AutoencoderKL.from_pretrained(DATA / "models/vae")
    pictures = [render(scene) for scene in unseen_scenes(64)]
    errors = [grey_levels_apart(*pair) for pair in zip(pictures, through_vae(pictures, vae), strict=True)]
    assert sum(errors) / len(errors) < 3


@pytest.mark.slow
def test_a_decoder_learns_resumes_and_leaves_the_encoder_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    few = unseen_scenes(24, "decoder")  # as many as the strip shows
    monkeypatch.setattr(decoder, "unseen_scenes", lambda count, _: few)
    shutil.copytree(DATA / "models/vae", tmp_path / "vae")
    encoder = load_file(tmp_path / "vae/diffusion_pytorch_model.safetensors")
    for steps in (2, 4):
        decoder.train_decoder(tmp_path / "vae", tmp_path / "decoder.safetensors", steps=steps, batch=2)
    assert [row["step"] for row in read_record(tmp_path / "decoder.jsonl")] == [1, 2, 3, 4]
    after = load_file(tmp_path / "vae/diffusion_pytorch_model.safetensors")
    assert all(torch.equal(after[key], value) for key, value in encoder.items() if key.startswith("encoder"))
    assert Image.open(tmp_path / "decoder.webp").size == (12 * 98, 6 * 98)


def test_a_damaged_checkpoint_is_refused_and_kept(tmp_path):
    path = tmp_path / "toy.safetensors"
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    save_checkpoint(path, 7, {"layer": layer}, [optimizer])
    other = torch.nn.Linear(2, 2)
    again = torch.optim.AdamW(other.parameters())
    assert load_checkpoint(path, {"layer": other}, [again]) == 7
    assert torch.equal(layer.weight, other.weight)
    assert again.state_dict()["state"][0]["exp_avg"].equal(optimizer.state_dict()["state"][0]["exp_avg"])
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="toy.safetensors does not fit this training"):
        load_checkpoint(path, {"layer": other}, [again])
    assert path.exists()


def test_the_tokenizer_knows_every_caption():
    tokenizer = build_tokenizer()
    assert len(tokenizer) == len(vocabulary()) + 3
    for seed in range(200):
        text = caption(sample_scene(random.Random(seed)))
        ids = tokenizer(text, padding="max_length").input_ids
        assert tokenizer.unk_token_id not in ids
        assert len(ids) == 24
        assert ids.count(tokenizer.eos_token_id) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["flux-mini", "--batch", "-1"], "-1 is not above 0"),
        (["vae", "--steps", "0"], "0 is not above 0"),
        (["flux-max"], "invalid choice"),
    ],
)
def test_bad_arguments_end_with_a_message(arguments, message, capsys):
    with pytest.raises(SystemExit):
        train.main(arguments)
    assert message in capsys.readouterr().err


def test_a_mini_without_a_vae_says_what_to_run_first(tmp_path):
    with pytest.raises(SystemExit, match="run `python -m miniworld.training vae` first"):
        train.main(["flux-mini", "--work", str(tmp_path), "--out", str(tmp_path)])


def test_a_card_shows_the_samples_of_scored_steps_and_takes_over_new_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(card, "CARDS", tmp_path / "cards")
    for folder, step in (("cards", 100), ("work", 200), ("work", 300)):
        save_grid([Image.new("RGB", (4, 4))], train_mini.strip_of(tmp_path / folder / "toy", step), columns=1)
    log = pd.DataFrame({"step": [50, 100, 200], "loss": 1.0, "strict": [None, 0.25, 0.5]})
    strips = card.kept_strips("toy", log, work=tmp_path / "work")
    assert strips == [(100, 0.25, "toy-00100.webp"), (200, 0.5, "toy-00200.webp")]
    assert sorted(path.name for path in (tmp_path / "cards").iterdir()) == ["toy-00100.webp", "toy-00200.webp"]


@pytest.mark.parametrize("name", measured_minis())
def test_every_mini_takes_the_fewest_steps_that_keep_its_score(name):
    assert Model.named(name).steps == fewest_steps(name) == mini_scores(name)["steps"]


def test_the_fewest_steps_are_those_near_the_best(monkeypatch):
    below = {"2": 0.01, "4": 0.03, "8": 0.015, "12": 0.0}  # two are too few for a study of steps
    curve = {steps: {"below best": {"mean": mean}} for steps, mean in below.items()}
    monkeypatch.setattr(metrics, "mini_scores", lambda _: {"by steps": curve})
    assert fewest_steps("toy") == 8


@pytest.mark.parametrize("name", measured_minis())
def test_the_committed_card_says_what_was_measured(name):
    text = (mini_folder(name) / "README.md").read_text()
    assert text == card.card_text(name), "write the cards anew: python -m miniworld.training.card"
    about = yaml.safe_load(text.split("---")[1])
    assert (about["library_name"], about["license"], about["pipeline_tag"]) == ("diffusers", "mit", "text-to-image")
    assert f"**{mini_scores(name)['strict']['mean']:.2f}**" in text
    for link in re.findall(r"\]\((\.\./[^)]+)\)", text):
        assert (mini_folder(name) / link).exists(), link


def test_the_table_of_minis_stands_between_its_markers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- minis -->\nold\n<!-- /minis -->\nafter\n")
    for _ in range(2):
        card.write_table(page)
    head, *rows, end, tail = page.read_text().splitlines()[1:]
    assert (head, end, tail) == ("<!-- minis -->", "<!-- /minis -->", "after")
    assert len(rows) == 2 + len(measured_minis()) and "old" not in rows


@pytest.mark.slow
def test_samples_of_a_training_are_one_strip_of_pictures(tmp_path):
    strip = train_mini.strip_of(tmp_path / "flux-mini.safetensors", 1260)
    train_mini.save_samples(load_pipeline("sd3-mini"), Model.named("sd3-mini").call, strip)
    assert strip.name == "flux-mini-01260.webp"
    assert Image.open(strip).size == (8 * 98, 98)
