"""Run the study on a cluster: Snakemake with a profile of `profiles/`, every notebook a job.

Snakemake waits for ever for a job that Slurm has forgotten, since it takes it for one that has not started yet:
`run_there` looks after that from outside.
"""

import hashlib
import os
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import IO

import yaml

from painters_utils.errors import InputError, unknown
from painters_utils.paths import ROOT

from .processes import end_children

PROFILES = Path(__file__).parent / "profiles"

NAME = "--slurm-jobname-prefix"
LOOK = 30  # seconds between two looks at the queue
# Seconds with an empty queue after which Snakemake waits in vain: it asks every 3 minutes, then a minute for files.
FORGOTTEN = 600
STARTS = 3
ASK = "`squeue --me` lists them; what they ask for is in the profile and, under `needs`, in data/models.yaml."
# What Slurm says of jobs that start sooner or later by themselves; anything else may wait for ever.
PATIENT = {"None", "Priority", "Resources", "Dependency", "BeginTime", "Cleaning", "Prolog"}


def find_options(profile: str, out: Path) -> list[str]:
    """Snakemake's options for a profile: a folder of workflow/profiles/ by name, or any folder with a config.yaml.

    On Slurm, each folder `out` names its jobs. `InputError` if there is no such profile, or its executor lacks a thing.
    """
    folder = next((it for it in (PROFILES / profile, Path(profile)) if (it / "config.yaml").is_file()), None)
    if folder is None:
        raise unknown("cluster", profile, [path.parent.name for path in sorted(PROFILES.glob("*/config.yaml"))])
    executor = (yaml.safe_load((folder / "config.yaml").read_text()) or {}).get("executor", "local")
    if executor != "local" and find_spec(f"snakemake_executor_plugin_{executor.replace('-', '_')}") is None:
        raise InputError(f"not installed: snakemake-executor-plugin-{executor}; `make` does it, or pip")
    given = ["--quiet", "rules", "reason", "host", "--workflow-profile", str(folder.resolve())]
    if executor != "slurm":
        return given
    if not which("sbatch"):
        raise InputError("no sbatch here: call this on a login node of the cluster")
    return [*given, NAME, "painters-" + hashlib.sha256(str(out).encode()).hexdigest()[:8]]


def run_there(command: list[str], locked: IO) -> int:
    """Run Snakemake and return its exit status; start it again, STARTS times in all, if it waits for nothing.

    What a killed run has left in Slurm's queue goes first, and in the end no job of the study stays there.
    """
    name = command[command.index(NAME) + 1] if NAME in command else None
    # PAINTERS: so that a profile can call what lies beside it.
    started = dict(stdin=locked, start_new_session=True, env=os.environ | {"PAINTERS": str(ROOT)})
    try:
        for _ in range(STARTS):
            cancel(name)
            code = wait(subprocess.Popen(command, **started), name)
            if code is not None:
                return code
            print(f"no job of this study was in the queue for {FORGOTTEN} s: looking what is missing", flush=True)
            end_children()
        return 1
    finally:
        end_children()
        cancel(name)


def wait(process: subprocess.Popen, name: str | None) -> int | None:
    """Wait for Snakemake's exit status; None if it still runs after the queue has been empty for too long."""
    seen, said = time.monotonic(), PATIENT
    while time.monotonic() - seen < FORGOTTEN:
        try:
            return process.wait(LOOK)
        except subprocess.TimeoutExpired:
            jobs = list_jobs(name)
            if jobs != {}:
                seen = time.monotonic()
            for reason in sorted(set((jobs or {}).values()) - said):
                print(f"Slurm does not start a job of this study: {reason}. {ASK}", flush=True)
                said = said | {reason}
        except KeyboardInterrupt:
            if name is None:  # it knows how to cancel its jobs
                process.send_signal(signal.SIGINT)
                process.wait()
            raise
    return None


def list_jobs(name: str | None) -> dict[str, str] | None:
    """The study's jobs on Slurm and why they wait ("None": they run); None if there is no answer or no Slurm."""
    if name is None:
        return None
    answer = subprocess.run(["squeue", "--me", "--noheader", "--format=%i %j %r"], capture_output=True, text=True)
    jobs = [line.split(maxsplit=2) for line in answer.stdout.splitlines()]
    return None if answer.returncode else {number: why for number, job, why in jobs if job.startswith(name)}


def cancel(name: str | None) -> None:
    """Take the study's jobs out of the queue, if there are any."""
    if jobs := list_jobs(name):
        subprocess.run(["scancel", *jobs])
