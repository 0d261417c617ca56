"""The study on a cluster: the profile asks for what jobs need, a cancelled job runs again, the results are the same."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from slurm_on_loopback import missing, slurm

from painters_utils.errors import InputError
from painters_utils.files import PART
from painters_utils.models import model as models
from painters_utils.models.model import Model, model_table
from painters_utils.paths import ROOT
from workflow import cluster, run
from workflow.page.build import WIDGET

PROFILE = cluster.PROFILES / "slurm/config.yaml"
PLUGIN = cluster.find_spec("snakemake_executor_plugin_slurm") is not None


def test_a_job_asks_for_what_its_model_needs():
    models = [Model.named(name) for name in model_table()]
    assert {model.needs["gpu"] for model in models if model.mini} == {0}
    assert {model.needs["gpu"] for model in models if not model.mini} == {1}


def test_a_rows_own_needs_come_first(monkeypatch):
    row = model_table()["auraflow"] | {"needs": {"mem_mb": 128_000}}
    monkeypatch.setattr(models, "model_table", lambda: {"big": row})
    assert Model.named("big").needs == {"mem_mb": 128_000, "runtime": 720, "gpu": 1}


@pytest.mark.parametrize(
    ("found", "arguments", "bad", "remedy"),
    [
        ("plugin sbatch", ["--on", "slurn"], "slurn", "slurm"),
        ("sbatch", ["--on", "slurm"], "not installed: snakemake-executor-plugin-slurm", "`make` does it"),
        ("plugin", ["--on", "slurm"], "no sbatch here", "login node"),
        ("plugin sbatch", ["--on", "slurm", "--cores", "2"], "cores is '2'", "set-threads"),
    ],
)
def test_what_a_cluster_lacks_is_said_before_the_study_starts(found, arguments, bad, remedy, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda _: True if "plugin" in found else None)
    monkeypatch.setattr(cluster, "which", lambda name: name if name in found else None)
    monkeypatch.setattr(cluster, "run_there", lambda *_: pytest.fail("the study was started"))
    with pytest.raises(SystemExit) as stop:
        run.main(["--profile", "smoke", *arguments])
    assert str(stop.value).startswith("error: ") and bad in str(stop.value) and remedy in str(stop.value)


def test_a_profile_of_ones_own_can_lie_anywhere(tmp_path):
    (tmp_path / "config.yaml").write_text("cores: 2")
    assert cluster.find_options(str(tmp_path), tmp_path / "out")[-2:] == ["--workflow-profile", str(tmp_path)]
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(InputError, match="unknown cluster"):
        cluster.find_options(str(tmp_path), tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("queue", "code", "starts"),
    [("", 0, 2), ("echo 1 painters-1_x None", 7, 1), ("echo 1 other-1_x None", 0, 2), ("exit 1", 7, 1)],
)
def test_snakemake_does_not_wait_for_jobs_that_slurm_has_forgotten(queue, code, starts, tmp_path, monkeypatch):
    """It hangs the first time. With an empty queue it is started anew; with a job, or no answer, it is left alone."""
    program = """
import pathlib, sys, time
starts = pathlib.Path(sys.argv[1])
first = not starts.exists()
starts.open("a").write("x")
time.sleep(3 if first else 0)
sys.exit(7 if first else 0)
"""
    for name, script in {"squeue": queue, "scancel": f"echo $@ >> {tmp_path}/cancelled"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(cluster, "LOOK", 0.2)
    monkeypatch.setattr(cluster, "FORGOTTEN", 1)
    command = [sys.executable, "-c", program, str(tmp_path / "starts"), cluster.NAME, "painters-1"]
    with open(os.devnull) as lock:
        assert cluster.run_there(command, lock) == code
    assert (tmp_path / "starts").read_text() == "x" * starts
    left = (tmp_path / "cancelled").read_text().split() if (tmp_path / "cancelled").exists() else []
    assert set(left) == ({"1"} if "painters-1" in queue else set()), "only the study's own jobs are cancelled"


@pytest.mark.slow
def test_a_job_that_slurm_does_not_start_is_spoken_of_once(tmp_path, monkeypatch, capsys):
    (tmp_path / "squeue").write_text(
        "#!/bin/sh\necho 1 painters-1_x ReqNodeNotAvail, Reserved\necho 2 painters-1_x Resources\necho 3 other Wrong\n"
    )
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(cluster, "LOOK", 0.2)
    with subprocess.Popen(["sleep", "1.5"]) as process:
        assert cluster.wait(process, "painters-1") == 0
    assert capsys.readouterr().out.count("Slurm does not start") == 1
    monkeypatch.setattr(cluster, "list_jobs", lambda _: {"1": "ReqNodeNotAvail, Reserved", "2": "PartitionConfig"})
    with subprocess.Popen(["sleep", "1.5"]) as process:
        cluster.wait(process, "painters-1")
    said = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1].split(". ")[0] for line in said] == ["PartitionConfig", "ReqNodeNotAvail, Reserved"]


# -- on a real Slurm ------------------------------------------------------------------------------------------

NOTEBOOKS = ["02_checker", "03_similarity", "04_clustering"]
KILLED = "03_similarity"
STUDY = """
import sys
from workflow import cluster, run
from workflow.config import load_study
from workflow.processes import lock

study, on = load_study("smoke", models=["sd3-mini"]), sys.argv[1]
where = ["--cores", "2"] if on == "here" else cluster.find_options(on, study.out)
targets = [str(study.out / "sd3-mini" / f"{name}.ipynb") for name in sys.argv[2:]]
with lock(study.out) as locked:
    sys.exit(cluster.run_there([*run.snakemake_command(study, where), "--", *targets], locked))
"""


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.skipif(bool(missing()), reason=f"no Slurm on this machine: {', '.join(missing())} not found")
@pytest.mark.skipif(not PLUGIN, reason="snakemake-executor-plugin-slurm is not installed")
def test_on_slurm_a_cancelled_job_runs_again_and_the_results_are_the_local_ones(tmp_path):
    here, there = checkout(tmp_path / "here"), checkout(tmp_path / "there")
    at_home = os.environ | {"PAINTERS_HOME": str(here)}
    subprocess.run([sys.executable, "-c", STUDY, "here", *NOTEBOOKS], cwd=here, env=at_home, check=True, timeout=1800)

    profile = tmp_path / "profile/config.yaml"
    profile.parent.mkdir()
    hasty = {
        "set-threads": {"prepare": 1, "notebook": 1},
        "latency-wait": 15,
        "slurm-init-seconds-before-status-checks": 3,
    }
    profile.write_text(yaml.safe_dump(yaml.safe_load(PROFILE.read_text()) | hasty))
    with slurm() as environment:
        environment |= {"PAINTERS_HOME": str(there)}
        study = subprocess.Popen(
            [sys.executable, "-c", STUDY, str(profile.parent), *NOTEBOOKS], cwd=there, env=environment
        )
        half_done = f"results/smoke/sd3-mini/{KILLED}.*{PART}.ipynb"
        until(lambda: any(there.glob(half_done)) or study.poll() is not None, 900)
        [victim] = [number for number, state, job in jobs(environment) if KILLED in job]
        subprocess.run(["scancel", victim], env=environment, check=True)
        assert study.wait(1800) == 0
        ended = jobs(environment)

    assert [state for _, state, job in ended if KILLED in job] == ["CANCELLED", "COMPLETED"]
    others = {job: state for _, state, job in ended if KILLED not in job}
    assert len(others) == len(NOTEBOOKS) and set(others.values()) == {"COMPLETED"}, "prepare, and two notebooks"
    expected, found = results(here), results(there)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def checkout(folder: Path) -> Path:
    """A copy of what the study runs, without results; the models and sprites are the repository's own."""
    for name in ("painters_utils", "miniworld", "originals", "workflow", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("config.yaml", "requirements.txt", "CITATION.cff"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "data").symlink_to(ROOT / "data")
    return folder


def until(done: object, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"nothing after {seconds} s"
        time.sleep(0.3)


def jobs(environment: dict[str, str]) -> list[tuple[str, ...]]:
    """Every job that the controller remembers, the first first: number, state, what it runs."""
    command = ["squeue", "--states=all", "--sort=i", "--noheader", "--format=%i|%T|%k"]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return [tuple(line.split("|")) for line in out.splitlines()]


def results(folder: Path) -> dict[str, object]:
    """All that a study has left: numbers, pictures, recordings, and what its notebooks show."""
    found: dict[str, object] = {}
    for path in sorted((folder / "results/smoke/sd3-mini").rglob("*.*")):
        name = str(path.relative_to(folder))
        if PART in name:
            continue  # what a cancelled job was writing; the next run deletes it
        if path.suffix == ".json":
            found[name] = json.loads(path.read_text())
        elif path.suffix == ".npz":
            with np.load(path) as file:
                found[name] = {key: file[key].tobytes() for key in file.files}
        elif path.suffix == ".ipynb":
            outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]
            shown = [output.get("text") or output["data"] for output in outputs]
            found[name] = [data for data in shown if WIDGET not in data]  # progress bars have numbers of their own
        else:
            found[name] = path.read_bytes()
    return found
