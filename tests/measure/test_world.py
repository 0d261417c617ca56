"""The door to the painted world: the checker as a scorer, the suite's prompts, the loss on unseen scenes."""

import numpy as np
import pytest
from PIL import Image

from miniworld.checker import WEIGHTS, features, read
from miniworld.denoising import denoising_loss, held_out
from miniworld.render import render
from miniworld.scenes import caption, unseen_scenes
from miniworld.scores import kernel_distance, rendered_features, score_pictures
from miniworld.suite import load_suite
from painters_utils.errors import InputError
from painters_utils.files import file_digest
from painters_utils.measure.world import CheckerScorer, Scenes, as_asked, suite_prompts
from painters_utils.models.loading import load_pipeline
from painters_utils.models.painting import Picture

SCENES = unseen_scenes(6, "door")
PROMPTS = [caption(scene) for scene in SCENES]
PICTURES = [Picture(prompt, 0, render(scene)) for prompt, scene in zip(PROMPTS, SCENES, strict=True)]


def test_the_checker_scores_what_it_reads():
    scorer = CheckerScorer()
    table = scorer.score(PROMPTS, PICTURES, PICTURES)
    assert list(table) == [*scorer.names, "duplicates", "distance"]
    assert table["adherence"].min() > 0.8 and table["layout"].min() == pytest.approx(1)
    images = [picture.image for picture in PICTURES]
    expected = score_pictures(PROMPTS, images, read(images), read(images))
    assert np.array_equal(table[list(scorer.names)], expected[list(scorer.names)])
    assert set(scorer.overall) | set(scorer.floor_zero) <= set(scorer.names)
    assert scorer.fingerprint == file_digest(WEIGHTS)
    assert scorer.lacks("adherence") == scorer.lacks("duplicates") == ""
    assert "checker" in scorer.lacks("clip")


def test_the_distance_leaves_out_what_is_not_finite():
    broken = Picture(PROMPTS[0], 0, Image.new("RGB", (96, 96)), finite=False)
    table = CheckerScorer().score(PROMPTS, [broken, *PICTURES[1:]], PICTURES)
    distance = kernel_distance(features([picture.image for picture in PICTURES[1:]]), rendered_features())
    assert table["distance"].to_numpy() == pytest.approx(distance, rel=1e-4)
    assert table["adherence"][0] < table["adherence"][1:].min()


def test_what_was_asked_for_is_rendered():
    prompts = ["a red dog left of a cat on a striped blue background", "three red apples on a white background"]
    pictures = as_asked(prompts)
    table = CheckerScorer().score(prompts, pictures, pictures)
    assert list(table["adherence"]) == [1, 1] and list(table["duplicates"]) == [0, 0]


def test_the_suite_gives_so_many_prompts_its_tasks_in_turn():
    tasks = list(load_suite().values())
    assert suite_prompts(0) == []
    assert suite_prompts(11) == [task[0] for task in tasks] + [task[1] for task in tasks[:2]]
    assert len(set(suite_prompts(180))) == 180
    for wrong in (-1, 181, 1.0, True, "1"):
        with pytest.raises(InputError, match="from 0 to 180"):
            suite_prompts(wrong)


def test_the_loss_on_scenes_is_the_minis_own():
    pipe = load_pipeline("sd3-mini")
    assert np.array_equal(Scenes(pipe, 2).loss(), denoising_loss(pipe, held_out(pipe, 2)))


def test_the_baseline_is_read_anew_when_it_is_another():
    scorer = CheckerScorer()
    kept, lost, again = (
        scorer.score(PROMPTS, PICTURES, before)["layout"] for before in (PICTURES, PICTURES[::-1], PICTURES)
    )
    assert kept.equals(again) and kept.mean() > lost.mean() + 0.2
