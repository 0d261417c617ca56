"""Prompts are read back exactly, and what lies outside the grammar is refused with a reason; the suite is in order."""

import random

import pytest

from miniworld.grammar import Request, Wish, imagine, parse
from miniworld.scenes import PATTERNS, TEXT_TOKENS, UNSEEN_PAIRS, caption, sample_scene
from miniworld.scores import check_facts
from miniworld.suite import EACH, TASKS, VERSION, article_prompts, build_suite, load_suite, showcase_prompts
from painters_utils.errors import InputError


def test_every_caption_is_read_back():
    for seed in range(2000):
        scene = sample_scene(random.Random(seed), unseen=seed % 2 == 0)
        request = parse(caption(scene))
        assert [(w.kind, w.colour, w.hat, w.sunglasses) for w in request.wishes] == [
            (t.kind, t.colour, t.hat, t.sunglasses) for t in scene.things
        ]
        assert (request.background, request.pattern) == (scene.background, scene.pattern)
        assert request.counted == (scene.phrase == "count")
        assert request.relation == (scene.phrase if scene.phrase not in ("and", "count") else None)


def test_an_imagined_scene_is_all_that_was_asked_for():
    suite = [prompt for task in load_suite().values() for prompt in task]
    for prompt in (*suite, *article_prompts(), *showcase_prompts()):
        check = check_facts(prompt, imagine(prompt))
        assert check.strict and not check.duplicates, prompt
    with pytest.raises(InputError, match="5 things: a scene has room for 4"):
        imagine("a dog, a cat, a fox, an owl and a tree on a white background")


def test_and_joins_accessories_and_things():
    assert parse("a dog wearing a red hat and pink sunglasses and an owl on a blue background") == Request(
        (Wish("dog", None, "red", "pink"), Wish("owl")), "blue"
    )
    assert parse("Two  Teddy Bears on a dotted pink background") == Request(
        (Wish("teddy bear"),) * 2, "pink", "dotted", counted=True
    )


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        (None, "is empty or no text"),
        ("a zebra on a white background", "outside the minis' grammar at 'a zebra on"),
        ("a red dog", "grammar at 'the end': expected ' on a striped"),
        ("a dog on a white background, blue sky", "outside the minis' grammar at ' on a white"),
        ("a dog wearing a blue on a white background", "outside the minis' grammar at ' wearing a blue"),
        ("five dogs on a white background", "outside the minis' grammar at 'five dogs"),
        ("a dog left of a cat and a fox on a white background", "places 3 things by 'left of': name exactly two"),
        ("a doghouse on a white background", "outside the minis' grammar"),
    ],
)
def test_what_lies_outside_the_grammar_is_refused(prompt, message):
    with pytest.raises(InputError, match=message) as error:
        parse(prompt)
    assert "\n" not in str(error.value)


def test_the_committed_suite_is_the_one_that_its_seed_gives():
    suite = load_suite()
    assert suite == build_suite()
    assert list(suite) == list(TASKS)
    assert VERSION == 1
    for prompts in suite.values():
        assert len(set(prompts)) == EACH >= 20
        assert all(len(prompt.split()) < TEXT_TOKENS for prompt in prompts)


def test_each_task_asks_for_what_it_is_named_after():
    suite = {task: [parse(prompt) for prompt in prompts] for task, prompts in load_suite().items()}
    pairs = {task: {(w.kind, w.colour) for r in requests for w in r.wishes} for task, requests in suite.items()}
    assert pairs["unseen pairs"] <= UNSEEN_PAIRS
    assert all(not found & UNSEEN_PAIRS for task, found in pairs.items() if task != "unseen pairs")
    assert all(request.counted for request in suite["counting"])
    assert {len(request.wishes) for request in suite["counting"]} == {2, 3, 4}
    assert {request.relation for request in suite["position"]} == {"left of", "right of", "above", "below"}
    assert {request.pattern for request in suite["backgrounds"]} == set(PATTERNS) - {"plain"}
    assert all(any(w.hat or w.sunglasses for w in request.wishes) for request in suite["accessories"])
    assert all(len({w.colour for w in r.wishes} - {None}) == 2 for r in suite["colour attribution"])


def test_the_article_s_prompts_come_as_meant_as_run_and_for_minis():
    meant, run, mini = (article_prompts(words) for words in ("intended", "as run", "mini"))
    assert (len(meant), len(run), len(mini)) == (6, 5, 6)
    assert run[2] == f"{meant[2]},{meant[3]}", "the missing comma fused the third and the fourth"
    assert run[:2] + run[3:] == meant[:2] + meant[4:]
    for prompt in mini:
        parse(prompt)
