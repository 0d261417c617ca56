# models × notebooks → executed notebooks → one page. `make report` calls this; see config.yaml for what it runs.
import json
import os
import re
import shlex
import sys

from painters_utils.catalog import ROOT, STUDY_LOADING, folder_name, model_row, needs
from painters_utils.config import PUBLISHED, load_study
from painters_utils.processes import end_with

STUDY = load_study(**config.get("study", {}))
OUT = STUDY.out
FOLDERS = {folder_name(model): model for model in STUDY.models}
SELF = os.getpid()
os.environ[STUDY_LOADING] = json.dumps(STUDY.loading)  # read by `catalog.loading` in every job
NUMERIC = [STUDY.loading["dtype"], STUDY.loading["quantize"]]  # those that change pictures
end_with(config.get("run"))  # this process, when `make report` has been killed
shell.prefix("cd {ROOT:q} && exec ")  # what is started is a child of this process, and sees whether it is there

# What every notebook builds on: a change in any of these runs the notebooks anew.
# The page's own code is left out: rewording the page recomputes nothing.
PAGE_ONLY = {
    "report.py", "run.py", "config.py", "cluster.py", "story.py", "drawings.py", "processes.py", "costs.py", "plan.py",
}
ENGINE = [path for path in sorted((ROOT / "painters_utils").glob("*.py")) if path.name not in PAGE_ONLY]
# Of the minis' world, what reads pictures; its training is left out.
WORLD = ("checker", "denoising", "evaluate", "grammar", "render", "scenes", "scores", "suite")
ENGINE += [ROOT / f"miniworld/{name}.py" for name in WORLD] + sorted((ROOT / "data/checker").iterdir())

# A notebook that needs what another has computed (recordings, baseline pictures) waits for it.
AFTER = {"03_similarity": [], "04_clustering": ["03_similarity"], "05_skip": ["04_clustering"]}
# First what others wait for, then what takes longest: a long notebook started last would leave the other cores idle.
FIRST = {**dict.fromkeys(AFTER, 3), "12_layer_by_layer": 2, "13_sweep": 1, "14_controls": 1}


def weights(wildcards):
    row = model_row(FOLDERS[wildcards.model])
    if "path" not in row:
        return []  # a commit on the model hub
    return sorted((ROOT / row["path"]).rglob("*.safetensors")) + sorted((ROOT / row["path"]).rglob("*.json"))


def arguments_of(model, notebook):
    parameters = STUDY.parameters(model, notebook).items()
    return " ".join("-p " + shlex.quote(f"{name}={json.dumps(value)}") for name, value in parameters)


def needed(resource):
    """What the job's model, or the neediest of the study, asks of its node; after a failure more of what can run out."""

    def of(wildcards, attempt):
        models = [FOLDERS[wildcards.model]] if "model" in wildcards.keys() else STUDY.models
        return max(needs(model)[resource] for model in models) * (1 if resource == "gpu" else attempt)

    return of


PER_MODEL = [OUT / f"{folder}/{name}.ipynb" for folder, model in FOLDERS.items() for name in STUDY.notebooks_of(model)]


def arguments(wildcards):
    return arguments_of(FOLDERS[wildcards.model], wildcards.notebook)


rule page:
    input:
        PER_MODEL,
        OUT / f"study/{STUDY.summary}.ipynb",
        [ROOT / f"painters_utils/{name}" for name in sorted(PAGE_ONLY)],
        ROOT / "data/models.yaml",
        sorted((ROOT / "report").glob("template/**/*")),
        sorted((ROOT / "benchmarks/results").glob("*.json")),
    output:
        OUT / PUBLISHED,  # not the page: Snakemake deletes what it is about to make
    params:
        settings=STUDY.settings(),
    shell:
        "{sys.executable:q} -m painters_utils.report {STUDY.profile:q} --settings {params.settings:q}"


rule findings:
    input:
        PER_MODEL,
        ENGINE,
        ROOT / "data/claims.yaml",
        source=ROOT / f"notebooks/{STUDY.summary}.ipynb",
    output:
        OUT / f"study/{STUDY.summary}.ipynb",
    params:
        arguments=arguments_of(None, STUDY.summary),
        numeric=NUMERIC,
    resources:
        mem_mb=needed("mem_mb"),
        runtime=needed("runtime"),
        gpu=needed("gpu"),
    shell:
        "{sys.executable:q} -m painters_utils.execute {STUDY.summary} --parent {SELF}"
        " --target {output:q} {params.arguments}"


rule notebook:
    wildcard_constraints:
        model="|".join(map(re.escape, FOLDERS)),
    input:
        lambda wildcards: [OUT / wildcards.model / f"{name}.ipynb" for name in AFTER.get(wildcards.notebook, ["05_skip"] if wildcards.notebook > "05_skip" else [])
                           if name in STUDY.notebooks],
        ENGINE,
        weights,
        ROOT / "data/models.yaml",
        ROOT / "data/article.yaml",
        ROOT / "requirements.txt",
        source=ROOT / "notebooks/{notebook}.ipynb",
    output:
        OUT / "{model}/{notebook}.ipynb",
    params:
        arguments=arguments,
        numeric=NUMERIC,
    priority:
        lambda wildcards: FIRST.get(wildcards.notebook, 0)
    # Half of the cores: two notebooks side by side lose less time than one that waits for its own threads.
    threads: lambda wildcards: max(1, workflow.cores // 2)
    resources:
        mem_mb=needed("mem_mb"),
        runtime=needed("runtime"),
        gpu=needed("gpu"),
    shell:
        "{sys.executable:q} -m painters_utils.execute {wildcards.notebook} --parent {SELF}"
        " --target {output:q} {params.arguments}"
