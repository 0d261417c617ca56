"""The package opens at once, has the names that it promises, and what needs no torch does without."""

import ast
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import painters_utils
from painters_utils.paths import ROOT

STUB = Path(painters_utils.__file__).with_suffix(".pyi")
HEAVY = ("torch", "diffusers", "transformers")


def promised() -> dict[str, str]:
    """The names of the stub, and the module that each is from."""
    found = {}
    for node in ast.parse(STUB.read_text()).body:
        assert isinstance(node, ast.ImportFrom) and node.level == 1
        found |= {alias.asname: node.module for alias in node.names if alias.name == alias.asname}
    return found


def in_python(code: str) -> dict:
    """What a new Python prints last, as JSON."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_names_are_those_of_the_stub():
    assert set(painters_utils.__all__) == set(promised())
    assert set(promised()) <= set(dir(painters_utils))
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = painters_utils.nothing_of_ours


@pytest.mark.parametrize("name", promised())
def test_each_name_is_the_one_of_its_module(name):
    assert getattr(painters_utils, name) is getattr(import_module(f"painters_utils.{promised()[name]}"), name)


def test_what_every_notebook_and_reader_needs_is_there():
    wanted = "layer_order find_stacks build_order record_activations find_bands load_pipeline Studio Model paint"
    assert set(wanted.split()) <= set(promised())


def test_importing_takes_under_a_second_and_no_torch():
    code = """
import json, sys, time
began = time.process_time()
import painters_utils
print(json.dumps({"seconds": time.process_time() - began, "loaded": list(sys.modules)}))
"""
    found = in_python(code)
    assert found["seconds"] < 1
    assert not {*HEAVY, "numpy", "pandas", "matplotlib"} & set(found["loaded"])


@pytest.mark.parametrize(
    "modules",
    [
        ["painters_utils.engine.orders", "painters_utils.engine.describe", "painters_utils.engine.strategies"],
        ["painters_utils.models.model", "painters_utils.study.experiments", "painters_utils.study.numbers"],
        ["workflow.findings.claims", "workflow.config", "workflow.run"],
        pytest.param(["workflow.page.build"], marks=pytest.mark.slow),
    ],
    ids=lambda modules: modules[-1],
)
def test_these_do_without_torch(modules):
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps(list(sys.modules)))"
    assert not set(HEAVY) & set(in_python(code))


def test_the_table_of_experiments_is_there_without_torch():
    """As the plan of a cluster's head node asks for it."""
    code = """
import json, sys
from painters_utils import Model, experiment
variants = experiment("skip").variants(Model.named("flux-mini"), {}, presets=["article"])
print(json.dumps({"words": [variant.words for variant in variants], "torch": "torch" in sys.modules}))
"""
    assert in_python(code) == {
        "words": ["layers 7–10 are skipped", "layers 10–13 are skipped", "layers 22–26 are skipped"], "torch": False,
    }  # fmt: skip
