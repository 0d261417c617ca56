"""The exploration widgets: every choice paints a picture, and bad input is said in words."""

import pytest

from painters_utils.models.catalog import ROOT
from painters_utils.errors import InputError
from workflow.execute import execute_notebook
from painters_utils.show.explore import Explorer, explorer

PROMPT = "a green balloon on a gray background"


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Explorer:
    return Explorer(["sd3-mini"], [PROMPT], tmp_path_factory.mktemp("explore"), steps=1)


def pictures(lab: Explorer) -> list[bytes]:
    return [box.children[0].value for box in lab.pictures.children]


@pytest.mark.parametrize(
    "strategy", ["identity", "skip", "middle_repeat", "reverse", "random_order", "parallel", "looped_parallel"]
)
def test_every_strategy_paints(lab, strategy):
    lab.choose(prompt=PROMPT, strategy=strategy, band=(4, 15))
    before, after = pictures(lab)
    assert (before == after) == (strategy == "identity")
    assert "likeness to sprites" in lab.words.value
    assert lab.variant.words in lab.words.value.replace("&lt;", "<")


def test_a_new_band_is_a_new_picture(lab):
    lab.choose(prompt=PROMPT, strategy="skip", band=(4, 15))
    one = pictures(lab)[1]
    lab.choose(band=(2, 3))
    assert pictures(lab)[1] != one
    assert "layers 2 and 3 are skipped" in lab.words.value


def test_what_cannot_be_painted_is_said_in_words(lab):
    lab.choose(prompt="a <b>zebra</b>")
    assert "words that a mini does not know" in lab.words.value
    assert "<b>zebra" not in lab.words.value
    lab.choose(prompt=PROMPT, strategy="skip", band=(0, 23))
    assert "leaves no layer" in lab.words.value
    lab.choose(band=(3, 4))
    assert "skipped" in lab.words.value


def test_an_unknown_model_is_an_error_at_once():
    with pytest.raises(InputError, match="unknown model 'sd4-mini'"):
        explorer(["sd4-mini"], [PROMPT], "results/never")


def test_the_notebook_runs_as_it_is(tmp_path):
    parameters = {"models": ["sd3-mini"], "prompts": [PROMPT], "steps": 1, "out": str(tmp_path)}
    execute_notebook(ROOT / "notebooks/16_explore.ipynb", tmp_path / "done.ipynb", parameters)
    assert "widget-view" in (tmp_path / "done.ipynb").read_text()
