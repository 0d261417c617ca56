"""Bad input ends `make report` early, in one line, and touches nothing; one notebook alone likewise."""

import json
import shutil

import nbformat
import pytest
from papermill.exceptions import PapermillExecutionError

from painters_utils import Model
from painters_utils.errors import InputError
from painters_utils.paths import ROOT
from painters_utils.study import numbers, settings
from workflow import config, execute, run
from workflow.checks import require_writable
from workflow.config import load_study
from workflow.execute import execute_notebook


@pytest.mark.parametrize(
    ("arguments", "bad", "remedy"),
    [
        (["--models", "flux-mimi"], "flux-mimi", "flux-mini"),
        (["--seeds", "0"], "seeds is '0'", "greater than 0"),
        (["--seeds", "-3"], "seeds is '-3'", "greater than 0"),
        (["--seeds", "two"], "seeds is 'two'", "integer"),
        (["--suite", "999"], "suite is '999'", "180"),
        (["--steps", "0"], "steps is '0'", "greater than 0"),
        (["--profile", "smok"], "smok", "smoke"),
        (["--cores", "many"], "cores is 'many'", "whole number above 0, or all"),
        (["--dtype", "bf16"], "dtype 'bf16'", "bfloat16"),
        (["--batch", "0"], "batch is '0'", "greater than 0"),
    ],
)
def test_bad_settings_end_the_run_before_it_starts(arguments, bad, remedy, monkeypatch):
    monkeypatch.setattr(run.subprocess, "Popen", lambda *_, **__: pytest.fail("the study was started"))
    arguments = arguments if "--seeds" not in arguments else [f"--seeds={arguments[1]}"]
    with pytest.raises(SystemExit) as stop:
        run.main(arguments)
    said = str(stop.value)
    assert said.startswith("error: ") and bad in said and remedy in said and "\n" not in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": ["a zebra on a white background"]}, "words that a mini does not know: 'zebra'"),
        ({"prompts": "a dog"}, "prompts is 'a dog': .* list"),
        ({"prompts": ["a red dog", "a blue cat"]}, "outside the minis' grammar"),
        ({"prompts": ["a red dog on a white background"]}, "would paint one prompt alone"),
        ({"prompts": []}, r"prompts .* \[\]"),
        ({"notebooks": ["05_skp"]}, "unknown notebook '05_skp': choose one of 05_skip"),
        ({"notebooks": ["15_findings"]}, "unknown notebook '15_findings'"),
        ({"notebooks": []}, r"notebooks is \[\]: .* at least 1"),
        ({"options": {"13_sweep": {"share": [0.5]}}}, "unknown parameter of 13_sweep 'share': choose one of shares"),
        ({"options": {"13_sweep": {"strategies": ["skip", "foo"]}}}, "options of 13_sweep: .*'foo'"),
        ({"options": {"13_sweep": {"draws": "many"}}}, "options of 13_sweep: draws is 'many'"),
        ({"options": {"13_sweep": {"shares": [float("inf")]}}}, "options of 13_sweep cannot be used .*parameters cell"),
        ({"options": {"05_skip": {"seeds": 3}}}, "seeds is 3: give a list"),
        ({"options": {"14_controls": {"stack": "foo"}}}, "options of 14_controls: unknown stack of .* 'foo'"),
        ({"options": {"11_edges": {"stack": "foo"}}}, "options of 11_edges: unknown stack of .* 'foo'"),
        ({"options": {"08_random_order": {"draws": 0}}}, "options of 08_random_order: draws is 0"),
        ({"prompts": [1]}, "prompts 0 is 1: .* string"),
        ({"options": {"13_swep": {}}}, "unknown notebook '13_swep': choose one of 13_sweep"),
        ({"colour": "red"}, "unknown setting 'colour'"),
        ({"others": {"step": 2}}, "unknown setting of others 'step': choose one of steps"),
        ({"others": {"prompts": "as ran"}}, "unknown version of the article's prompts 'as ran': choose one of as run"),
        ({"loading": {"gpu": 1}}, "unknown setting of loading 'gpu'"),
        ({"loading": {"quantize": "2bit"}}, "unknown quantize '2bit'"),
        ({"judges": {"dyno": None}}, "unknown setting of judges 'dyno': choose one of dino"),
        ({"judges": {"dino": 3}}, "judges dino is 3: .* string"),
        ({"models": []}, r"models is \[\]: .* at least 1"),
        ({"suite": 1.5}, "suite is 1.5: .* integer"),
    ],
)
def test_a_bad_configuration_is_refused(changes, message):
    with pytest.raises(InputError, match=message) as error:
        load_study("smoke", **changes)
    assert "\n" not in str(error.value)


def test_a_config_yaml_that_cannot_be_read_is_refused_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text("profiles: {default: {}}\nseeds: [2\n")
    monkeypatch.setattr(settings, "CONFIG", tmp_path / "config.yaml")
    with pytest.raises(InputError, match="config.yaml is damaged .*line") as error:
        load_study()
    assert "\n" not in str(error.value)


def test_a_setting_that_config_yaml_lacks_is_named(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text("profiles: {default: {}}\nmodels: [sd3-mini]\n")
    monkeypatch.setattr(settings, "CONFIG", tmp_path / "config.yaml")
    with pytest.raises(InputError, match="notebooks is missing: config.yaml"):
        load_study(out=tmp_path / "out")


@pytest.mark.parametrize(("text", "message"), [
    ("", "unknown profile 'default'"),
    ("- 1", r"config.yaml is \[1\]: write names and their values"),
    ("profiles: [default]", r"profiles is \['default'\]: write names"),
    ("profiles: {default: 3}", "profile default is 3: write names"),
    ("profiles: {default: }\nseed: 2", "unknown setting 'seed': choose one of seeds"),
])  # fmt: skip
def test_a_config_yaml_of_another_shape_is_refused(text, message, tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text(text)
    monkeypatch.setattr(settings, "CONFIG", tmp_path / "config.yaml")
    with pytest.raises(InputError, match=message):
        load_study(out=tmp_path / "out")


def test_a_model_named_twice_is_studied_once():
    assert [model.name for model in load_study("smoke", models=["sd3-mini", "sd3-mini"]).models] == ["sd3-mini"]


@pytest.mark.parametrize(("given", "message"), [
    (["seeds=[3"], "error: parameter seeds is '.3', which is no YAML"),
    (["sees=[3]"], "error: unknown parameter of 05_skip.ipynb 'sees'"),
])  # fmt: skip
def test_a_bad_parameter_of_one_notebook_ends_in_one_line(given, message, tmp_path):
    arguments = [part for one in given for part in ("-p", one)]
    with pytest.raises(SystemExit, match=message) as stop:
        execute.main(["05_skip", "--target", str(tmp_path / "x.ipynb"), *arguments])
    assert "\n" not in str(stop.value)


def test_a_study_carries_its_settings_to_the_page():
    study = load_study("smoke", seeds=2)
    model = study.models[0]
    assert study.parameters(model, "05_skip")["seeds"] == [0, 1]
    assert "suite" not in study.parameters(model, "03_similarity"), "only what a notebook declares"
    told = study.parameters(None, "15_findings")
    assert told["models"] == [model.name for model in study.models] and told["out"] == "results/smoke"
    assert told["notebooks"] == list(study.notebooks)
    assert study.out.parts[-2:] == ("results", "smoke")
    assert load_study().page == config.REPORT / "index.html"
    assert study.page != load_study().page, "a smoke run leaves the committed page alone"
    assert load_study("smoke", **json.loads(study.as_json())) == study


def test_what_pictures_depend_on_stands_in_the_executed_notebook(tmp_path):
    """Also what nobody chose: a mini is not quantised, whatever the table of models may say of it one day."""
    plain, chosen = load_study("smoke", tmp_path), load_study("smoke", tmp_path, loading={"dtype": "bfloat16"})
    for study, dtype in ((plain, "float32"), (chosen, "bfloat16")):
        told = study.parameters(study.models[0], "05_skip")
        assert told["loading"] == {"dtype": dtype, "device": None, "offload": "none", "quantize": "none", "batch": 40}
        assert told["steps"] == 2 and told["prompts"] == study.settings.prompts
        assert set(told["judges"]) == {"clip", "dino"}


def test_every_notebook_runs_unless_some_are_chosen(tmp_path):
    study = load_study("smoke", tmp_path)
    assert {"02_checker", "05_skip", "14_controls"} <= set(study.notebooks) and list(study.closing) == ["15_findings"]
    assert "16_explore" not in study.notebooks, "is run by hand"
    few = load_study("smoke", tmp_path, notebooks=["07_reverse", "05_skip"], models=["sd3-mini", "auraflow"])
    assert [few.notebooks_of(model) for model in few.models] == [["05_skip", "07_reverse"]] * 2
    both = load_study("smoke", tmp_path, models=["sd3-mini", "auraflow"])
    assert ["02_checker" in both.notebooks_of(model) for model in both.models] == [True, False]


def test_originals_get_the_articles_words_and_their_own_steps(tmp_path):
    study = load_study(out=tmp_path, models=["sd3-mini", "flux-schnell"])
    mini, original = study.models
    assert study.prompts_of(mini) == study.settings.prompts
    assert "Anakin AI" in study.prompts_of(original)[0] and len(study.prompts_of(original)) == 6
    assert (mini.steps, original.steps) == (Model.named("sd3-mini").steps, 4)
    told = study.parameters(original, "05_skip")
    assert told["steps"] == 4 and told["prompts"] == study.prompts_of(original)
    assert told["loading"]["dtype"] == "bfloat16" and told["loading"]["batch"] == 1
    shared = study.parameters(None, "15_findings")
    assert shared["steps"] == {"sd3-mini": mini.steps, "flux-schnell": 4}
    assert set(shared["prompts"]) == {"sd3-mini", "flux-schnell"}
    assert load_study(study.profile, **json.loads(study.as_json())) == study


def test_options_are_parameters_of_one_notebook(tmp_path):
    study = load_study("smoke", tmp_path, options={"13_sweep": {"shares": [0.5], "strategies": ["skip"]}})
    model = study.models[0]
    assert study.parameters(model, "13_sweep")["shares"] == [0.5]
    assert len(study.variants_of(model, "13_sweep")) == len(model.depths), "the plan counts what will be painted"
    assert "shares" not in study.parameters(model, "05_skip")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"):
        require_writable(tmp_path / "file" / "below")


def notebook(path, *sources):
    """A notebook whose first cell declares the parameters."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def test_an_unknown_notebook_parameter_is_an_error_before_anything_runs(tmp_path):
    source, target = notebook(tmp_path / "toy.ipynb", "steps = 1", "1 / 0"), tmp_path / "done.ipynb"
    with pytest.raises(InputError, match="unknown parameter of toy.ipynb 'stepz': choose one of steps"):
        execute_notebook(source, target, {"stepz": 3})
    assert not target.exists()


def test_a_failed_cell_fails_the_run_and_keeps_the_last_good_result(tmp_path):
    source, target = notebook(tmp_path / "toy.ipynb", "steps = 1", "print(10 / steps)"), tmp_path / "done.ipynb"
    execute_notebook(source, target, {"steps": 5})
    good = target.read_text()
    assert "2.0" in good
    with pytest.raises(PapermillExecutionError):
        execute_notebook(source, target, {"steps": 0})
    assert target.read_text() == good
    assert "ZeroDivisionError" in (tmp_path / "done.failed.ipynb").read_text()


def test_an_unknown_notebook_or_parameter_is_named_on_the_command_line():
    with pytest.raises(SystemExit, match="error: unknown notebook '05_skp': choose one of 05_skip"):
        execute.main(["05_skp"])
    with pytest.raises(SystemExit, match="unknown parameter of 05_skip.ipynb 'sedes': choose one of seeds"):
        execute.main(["05_skip", "-p", "sedes=[1]"])
    with pytest.raises(SystemExit, match="has no value"):
        execute.main(["05_skip", "-p", "seeds"])


def test_numbers_are_kept_and_missing_or_damaged_ones_explained(tmp_path):
    numbers.save_numbers(tmp_path, "toy", {"a": [1, 2.5]})
    assert numbers.read_numbers(tmp_path, "toy") == {"a": [1, 2.5]}
    with pytest.raises(InputError, match="no numbers of other .* run that notebook first"):
        numbers.read_numbers(tmp_path, "other")
    (tmp_path / "toy.json").write_text('{"a": [1, ')
    with pytest.raises(InputError, match="toy.json is damaged"):
        numbers.read_numbers(tmp_path, "toy")


def test_a_mini_named_by_its_folder_is_told_apart_before_anything_runs(tmp_path):
    folder = shutil.copytree(ROOT / "data/models/sd3-mini", tmp_path / "fine")
    with pytest.raises(InputError, match="is a mini, which reads few words: give it a row with `mini: true`"):
        load_study("smoke", tmp_path / "out", models=[str(folder)])
    others = {"prompts": ["a green balloon on a gray background", "a red bridge on a blue background"]}
    assert load_study("smoke", tmp_path / "out", models=[str(folder)], others=others).models[0].source.folder == folder
