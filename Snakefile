# models × notebooks → executed notebooks → one page. `make report` calls this; see config.yaml for what it runs.
import json
import shlex
import sys

from painters_utils.catalog import ROOT, model_table
from painters_utils.config import load_study

STUDY = load_study(**config.get("study", {}))
OUT = STUDY.out.relative_to(ROOT)

# What every notebook builds on: a change in any of these runs the notebooks anew.
# The page's own code is left out: rewording the page recomputes nothing.
PAGE_ONLY = {"report.py", "run.py", "config.py", "story.py", "drawings.py"}
ENGINE = [path for path in sorted((ROOT / "painters_utils").glob("*.py")) if path.name not in PAGE_ONLY]
# Of the minis' world, what reads pictures; its training is left out.
WORLD = ("checker", "denoising", "evaluate", "grammar", "render", "scenes", "scores", "suite")
ENGINE += [ROOT / f"miniworld/{name}.py" for name in WORLD] + sorted((ROOT / "data/checker").iterdir())

# A notebook that needs what another has computed (recordings, baseline pictures) waits for it.
AFTER = {"03_similarity": [], "04_clustering": ["03_similarity"], "05_skip": ["04_clustering"]}


def weights(wildcards):
    folder = ROOT / model_table()[wildcards.model]["path"]
    return sorted(folder.rglob("*.safetensors")) + sorted(folder.rglob("*.json"))


def arguments_of(model, notebook):
    parameters = STUDY.parameters(model, notebook).items()
    return " ".join("-p " + shlex.quote(f"{name}={json.dumps(value)}") for name, value in parameters)


PER_MODEL = expand(OUT / "{model}/{notebook}.ipynb", model=STUDY.models, notebook=STUDY.notebooks)


def arguments(wildcards):
    return arguments_of(wildcards.model, wildcards.notebook)


rule page:
    input:
        PER_MODEL,
        OUT / f"study/{STUDY.summary}.ipynb",
        [ROOT / f"painters_utils/{name}" for name in sorted(PAGE_ONLY)],
        ROOT / "data/models.yaml",
        sorted((ROOT / "report").glob("template/**/*")),
    output:
        STUDY.page.relative_to(ROOT),
    params:
        settings=STUDY.settings(),
    shell:
        "{sys.executable} -m painters_utils.report {STUDY.profile:q} --settings {params.settings:q}"


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
    shell:
        "{sys.executable} -m painters_utils.execute {STUDY.summary} --target {output:q} {params.arguments}"


rule notebook:
    wildcard_constraints:
        model="|".join(STUDY.models),
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
    # Half of the cores: two notebooks side by side lose less time than one that waits for its own threads.
    threads: max(1, workflow.cores // 2)
    shell:
        "OMP_NUM_THREADS={threads} {sys.executable} -m painters_utils.execute {wildcards.notebook}"
        " --target {output:q} {params.arguments}"
