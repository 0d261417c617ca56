"""The notebook to play with: every choice paints a picture, and what cannot be painted is said in words."""

import pytest
from notebook_cells import run_cells

from painters_utils.errors import InputError
from painters_utils.paths import NOTEBOOKS
from workflow.execute import execute_notebook

NOTEBOOK = NOTEBOOKS / "16_explore.ipynb"
PROMPT = "a green balloon on a gray background"
CHOICE = {"model": "sd3-mini", "prompt": PROMPT, "seed": 0, "stack": "transformer_blocks", "band": (4, 15)}


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> dict:
    return run_cells(
        "16_explore", models=["sd3-mini"], prompts=[PROMPT], steps=1, out=str(tmp_path_factory.mktemp("explore"))
    )


def test_every_strategy_on_offer_paints(lab):
    for strategy in lab["strategies"]:
        variant, before, after, scores = lab["change_layers"](**CHOICE, strategy=strategy)
        assert variant.strategy == strategy
        assert (before == after) == (strategy == "identity")
        assert "likeness to sprites" in scores


def test_what_was_painted_comes_back(lab, monkeypatch):
    first = lab["change_layers"](**CHOICE, strategy="skip")
    monkeypatch.setattr("painters_utils.study.studio.paint", None)
    again = lab["change_layers"](**CHOICE, strategy="skip")
    assert again[1:3] == first[1:3]


def test_a_new_band_is_a_new_picture(lab):
    wide, narrow = (lab["change_layers"](**CHOICE | {"band": band}, strategy="skip") for band in ((4, 15), (2, 3)))
    assert wide[2] != narrow[2]
    assert narrow[0].words == "layers 2 and 3 are skipped"


@pytest.mark.parametrize(
    ("choice", "word"),
    [
        ({"prompt": "a <b>zebra</b>"}, "outside the minis' grammar at 'a <b>zebra"),
        ({"band": (0, 23)}, "leaves no layer"),
    ],
)
def test_what_cannot_be_painted_is_said_in_words(lab, choice, word):
    [said] = lab["show_choice"](**CHOICE | choice, strategy="skip")
    assert word in said.value
    pictures, words, *scores = lab["show_choice"](**CHOICE, strategy="skip")
    assert len(pictures.children) == 2 and "skipped" in words.value and len(scores) > 2


def test_the_widgets_follow_the_stack(lab):
    choices = lab["choices"]
    assert choices["band"].max == 23
    assert choices["stack"].value == "transformer_blocks"
    choices["strategy"].value = "reverse"
    assert "reverse" in lab["shown"].children[0].children[1].children[0].value
    assert {name: widget.value for name, widget in choices.items()} == CHOICE | {
        "strategy": "reverse", "band": (8, 12),
    }  # fmt: skip


@pytest.mark.slow
def test_the_notebook_runs_as_it_is(tmp_path):
    given = {"models": ["sd3-mini"], "prompts": [PROMPT], "steps": 1, "out": str(tmp_path)}
    execute_notebook(NOTEBOOK, tmp_path / "done.ipynb", given)
    assert "widget-view" in (tmp_path / "done.ipynb").read_text()


def test_an_unknown_model_is_an_error_at_once():
    with pytest.raises(InputError, match="unknown model 'sd4-mini'"):
        run_cells("16_explore", models=["sd4-mini"])
