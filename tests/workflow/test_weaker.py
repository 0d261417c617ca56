"""The search for a weaker self: what is chosen, and on which pictures."""

from pathlib import Path

import numpy as np
import pytest

from painters_utils.errors import InputError
from painters_utils.models.model import Model
from workflow import weaker
from workflow.weaker import CHOOSING, FINALISTS, MORE_SEEDS, Arm, Search

PROMPTS = 9 * CHOOSING


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, list[int]]]:
    """What is painted: (way, prompts, seeds). "lucky" gains with the first seed alone, "steady" a little with all."""
    ways = [Arm(name, 1.5) for name in ("lucky", "steady", *(f"useless {number}" for number in range(12)))]
    painted: list[tuple[str, int, list[int]]] = []

    class Planted:
        def __init__(self, model: object) -> None:
            pass

        def scores(self, arm: Arm, prompts: list[str], seeds: list[int]) -> np.ndarray:
            painted.append((arm.name, len(prompts), list(seeds)))
            gain = {"lucky": [0.2 if seed == 0 else -0.1 for seed in seeds], "steady": [0.1] * len(seeds)}
            of_seed = np.array(gain.get(arm.name, [0.0] * len(seeds)))
            return np.tile(0.5 + np.stack([of_seed, of_seed], 1), (len(prompts), 1))

    monkeypatch.setattr(weaker, "Search", Planted)
    monkeypatch.setattr(weaker, "load_or_record", lambda *_: {"cosine": None})
    monkeypatch.setattr(weaker, "matched_bands_of", lambda _: {})
    monkeypatch.setattr(weaker, "guided_arms", lambda *_: iter(ways))
    return painted


def test_the_best_of_many_is_chosen_on_more_pictures_than_the_many(asked: list[tuple[str, int, list[int]]]) -> None:
    found = weaker.search("sd3-mini")
    guided, *others = found["judged"]
    assert guided["name"] == "steady", "what gained most with one seed was luck"
    assert guided["strict gained"]["mean"] == pytest.approx(0.1)
    assert found["chosen on"] == PROMPTS * (1 + len(MORE_SEEDS)) and others
    pictures = [row["pictures"] for row in found["tried"]]
    assert sorted(set(pictures)) == [PROMPTS, found["chosen on"]] and pictures.count(found["chosen on"]) == FINALISTS


def test_judges_share_no_picture_with_those_who_choose(asked: list[tuple[str, int, list[int]]]) -> None:
    weaker.search("sd3-mini")
    choosing = {(prompts, seed) for _, prompts, seeds in asked if prompts == PROMPTS for seed in seeds}
    judging = {(prompts, seed) for _, prompts, seeds in asked if prompts != PROMPTS for seed in seeds}
    assert {seed for _, seed in choosing} == {0, *MORE_SEEDS}
    assert {seed for _, seed in judging} == {1, 2, 3}


def test_a_model_that_is_no_mini_is_refused_before_anything_is_painted(asked: list[tuple[str, int, list[int]]]) -> None:
    with pytest.raises(InputError, match="no mini"):
        weaker.search("flux-schnell")
    assert not asked


def test_a_stopped_search_paints_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weaker, "ROOT", tmp_path)
    model = Model.named("sd3-mini", steps=1)
    untouched, guided = Arm("untouched", 1.0), Arm("more", 1.0, call={"guidance_scale": 4.0})
    prompts = ["a red dog on a white background", "a green balloon on a gray background"]
    first = [Search(model).scores(arm, prompts, [0, 1]) for arm in (untouched, guided)]
    assert first[0].shape == (4, 2) and len(list((tmp_path / "results/weaker").iterdir())) == 2
    again = Search(model)
    monkeypatch.setattr(weaker, "paint", lambda *_, **__: pytest.fail("painted again"))
    np.testing.assert_array_equal([again.scores(arm, prompts, [0, 1]) for arm in (untouched, guided)], first)
    with pytest.raises(pytest.fail.Exception):
        again.scores(untouched, prompts, [2])
