"""Judges score what they see, batch by batch alike, and are left out where their weights cannot be had."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image
from safetensors.torch import load_file, save_file
from toy_judges import save_toy_clip, save_toy_dino

from originals import judges as module
from originals.judges import Judge, JudgeScorer
from painters_utils.errors import InputError

PROMPTS = ["a green balloon", "a red bridge", "a green balloon"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("judges")
    return {"clip": str(save_toy_clip(root / "clip")), "dino": str(save_toy_dino(root / "dino"))}


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 256, (40, 64, 3), dtype=np.uint8)).resize((96, 96), 0) for _ in range(3)]


def test_clip_says_how_well_a_picture_fits_its_prompt(folders, pictures):
    judge = Judge("clip", Path(folders["clip"]))
    pixels = judge.processor(pictures, return_tensors="pt")["pixel_values"]
    tokens = judge.tokenizer(PROMPTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        whole = judge.network(
            pixel_values=pixels, input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        )
        cosines = (whole.logits_per_image / judge.network.logit_scale.exp()).diagonal().numpy()
    assert judge.score(PROMPTS, pictures, pictures) == pytest.approx(cosines.clip(min=0), abs=1e-6)
    assert len(set(cosines.round(3))) == 3, "other pictures, other numbers"


def test_dino_says_how_much_a_picture_looks_like_the_one_before(folders, pictures):
    judge = Judge("dino", Path(folders["dino"]))
    assert judge.score(PROMPTS, pictures, pictures) == pytest.approx(1)
    others = judge.score(PROMPTS, pictures, pictures[1:] + pictures[:1])
    pixels = judge.processor(pictures, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        seen = judge.network(pixel_values=pixels).pooler_output
    assert others == pytest.approx(torch.cosine_similarity(seen, seen.roll(-1, 0)).clamp(min=0).numpy(), abs=1e-6)
    assert others.max() < 0.99


@pytest.mark.parametrize("name", module.NETWORKS)
def test_batches_and_what_was_seen_before_change_nothing(folders, pictures, name, monkeypatch):
    whole = Judge(name, Path(folders[name])).score(PROMPTS, pictures, pictures[::-1])
    monkeypatch.setattr(module, "BATCH", 1)
    judge = Judge(name, Path(folders[name]))
    for _ in range(2):
        assert judge.score(PROMPTS, pictures, pictures[::-1]) == pytest.approx(whole, abs=1e-6)


def test_any_text_can_be_read(folders, pictures):
    hostile = ["<script>alert(1)</script>", "\U0001f408 \u202etac a", "a red bridge " * 400]
    assert np.isfinite(Judge("clip", Path(folders["clip"])).score(hostile, pictures, pictures)).all()


def test_both_are_loaded_once(folders):
    scorer = JudgeScorer(folders)
    assert list(scorer.judges) == ["clip", "dino"] and not scorer.absent
    assert JudgeScorer(folders).judges["clip"] is scorer.judges["clip"]
    prints = [judge.fingerprint for judge in scorer.judges.values()]
    assert len(set(prints)) == 2 and all(one in scorer.fingerprint for one in prints)


def test_judges_are_a_scorer(folders, pictures):
    scorer = JudgeScorer(folders)
    painted = [SimpleNamespace(image=picture) for picture in pictures]
    table = scorer.score(PROMPTS, painted, painted[::-1])
    assert list(table) == ["clip", "dino"] == list(scorer.names) == list(scorer.overall)
    for name, judge in scorer.judges.items():
        assert np.array_equal(table[name], judge.score(PROMPTS, pictures, pictures[::-1]))
    assert scorer.lacks("clip") == "" and "minis" in scorer.lacks("fine")
    alone = JudgeScorer({"dino": folders["dino"]})
    assert list(alone.score(PROMPTS, painted, painted)) == ["dino"] == list(alone.names)
    assert "switched off" in alone.lacks("clip") and alone.fingerprint != scorer.fingerprint


def test_a_judge_without_weights_is_left_out_and_says_why(monkeypatch):
    def no_network(*_: object, **__: object) -> None:
        raise LocalEntryNotFoundError("cannot find the requested files\nsecond line")

    monkeypatch.setattr(module, "snapshot_download", no_network)
    scorer = JudgeScorer({"clip": "openai/clip-vit-large-patch14", "dino": None})
    assert not scorer.judges and not scorer.names
    for part in ("'clip' is left out", "openai/clip-vit-large-patch14", "cannot find the requested files", "network"):
        assert part in scorer.absent["clip"]
    assert "\n" not in scorer.absent["clip"] and "second line" not in scorer.absent["clip"]
    assert "'dino' is switched off" in scorer.absent["dino"] == scorer.lacks("dino")
    assert "switched off" in JudgeScorer({}).absent["clip"]


def test_damaged_incomplete_and_other_networks_weights_are_left_out(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    save_toy_dino(tmp_path / "cut")
    weights = tmp_path / "cut/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    save_toy_dino(tmp_path / "pickled")
    (tmp_path / "pickled/model.safetensors").unlink()
    torch.save({}, tmp_path / "pickled/pytorch_model.bin")
    for folder in ("empty", "cut", "pickled"):
        scorer = JudgeScorer({"dino": str(tmp_path / folder)})
        assert not scorer.judges and "cannot be loaded" in scorer.absent["dino"], folder
        assert "\n" not in scorer.absent["dino"]
    scorer = JudgeScorer({"clip": folders["dino"]})
    assert not scorer.judges and "dinov2, not a clip" in scorer.absent["clip"]
    save_toy_dino(tmp_path / "holes")
    tensors = load_file(tmp_path / "holes/model.safetensors")
    tensors.pop("layernorm.weight")
    save_file(tensors, tmp_path / "holes/model.safetensors", {"format": "pt"})
    scorer = JudgeScorer({"dino": str(tmp_path / "holes")})
    assert not scorer.judges and "1 of its tensors" in scorer.absent["dino"], "transformers fills holes"


def test_a_revision_can_be_pinned_and_only_safetensors_are_fetched(folders, monkeypatch):
    asked = {}

    def fetch(repository: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.update(repository=repository, revision=revision, patterns=allow_patterns)
        return folders["dino"]

    monkeypatch.setattr(module, "snapshot_download", fetch)
    assert list(JudgeScorer({"dino": "owner/name@0123abc"}).judges) == ["dino"]
    assert (asked["repository"], asked["revision"]) == ("owner/name", "0123abc")
    assert asked["patterns"] == ["*.json", "*.txt", "*.safetensors"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"klip": "a/b"}, "judge 'klip': .* clip"),
        ({"clip": 3}, "judge 'clip' is 3: .*folder"),
        ({"clip": " "}, "judge 'clip' is ' '"),
    ],
)
def test_what_is_no_judge_is_refused(wanted, message):
    with pytest.raises(InputError, match=message):
        JudgeScorer(wanted)
