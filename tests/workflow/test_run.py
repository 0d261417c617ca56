"""Bad input ends `make report` early, in one line, and touches nothing; one notebook alone likewise."""

import shutil

import nbformat
import pytest
from papermill.exceptions import PapermillExecutionError

from workflow import config
from workflow import execute
from painters_utils.study import results
from workflow import run
from painters_utils.models.catalog import ROOT
from workflow.config import load_study, require_writable
from painters_utils.errors import InputError
from workflow.execute import execute_notebook


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "flux-mimi"], "unknown model 'flux-mimi': choose one of flux-mini"),
        (["--seeds", "0"], "seeds is 0: give a whole number above 0"),
        (["--seeds", "-3"], "seeds is -3: give a whole number above 0"),
        (["--seeds", "two"], "seeds is 'two': give a whole number above 0"),
        (["--suite", "99"], "suite is 99: give a whole number from 0 to 20, the prompts of a task"),
        (["--steps", "0"], "steps is 0: give a whole number above 0"),
        (["--profile", "smok"], "unknown profile 'smok': choose one of smoke"),
        (["--cores", "many"], "cores is 'many': give a whole number above 0, or all"),
    ],
)
def test_bad_settings_end_the_run_before_it_starts(arguments, message, monkeypatch):
    monkeypatch.setattr(run.subprocess, "Popen", lambda *_, **__: pytest.fail("the study was started"))
    arguments = arguments if "--seeds" not in arguments else [f"--seeds={arguments[1]}"]
    with pytest.raises(SystemExit) as stop:
        run.main(arguments)
    assert str(stop.value) == f"error: {message}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": ["a zebra on a white background"]}, "words that a mini does not know: 'zebra'"),
        ({"prompts": "a dog"}, "prompts is 'a dog': give a list"),
        ({"notebooks": ["05_dream"]}, "unknown notebook '05_dream'"),
        ({"colour": "red"}, "unknown setting 'colour'"),
        ({"models": []}, r"models is \[\]"),
    ],
)
def test_a_bad_configuration_is_refused(changes, message):
    with pytest.raises(InputError, match=message) as error:
        load_study("smoke", **changes)
    assert "\n" not in str(error.value)


def test_a_study_carries_its_settings_to_the_page():
    study = load_study("smoke", seeds=2)
    assert study.parameters("flux-mini", "05_skip")["seeds"] == [0, 1]
    assert "suite" not in study.parameters("flux-mini", "03_similarity"), "only what a notebook declares"
    assert study.parameters("", study.summary)["models"] == study.models
    assert study.parameters("", study.summary)["out"] == "results/smoke"
    assert study.out.parts[-2:] == ("results", "smoke")
    assert load_study().page == config.REPORT / "index.html"
    assert study.page != load_study().page, "a smoke run leaves the committed page alone"


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
    results.save_numbers(tmp_path, "toy", {"a": [1, 2.5]})
    assert results.read_numbers(tmp_path, "toy") == {"a": [1, 2.5]}
    with pytest.raises(InputError, match="no numbers of other .* run that notebook first"):
        results.read_numbers(tmp_path, "other")
    (tmp_path / "toy.json").write_text('{"a": [1, ')
    with pytest.raises(InputError, match="toy.json is damaged"):
        results.read_numbers(tmp_path, "toy")


def test_a_mini_named_by_its_folder_is_told_apart_before_anything_runs(tmp_path):
    folder = shutil.copytree(ROOT / "data/models/sd3-mini", tmp_path / "fine")
    with pytest.raises(InputError, match="is a mini, which reads few words: give it a row with `mini: true`"):
        load_study("smoke", tmp_path / "out", models=[str(folder)])
    others = {"prompts": ["a green balloon on a gray background"]}
    assert load_study("smoke", tmp_path / "out", models=[str(folder)], others=others).models == [str(folder)]
