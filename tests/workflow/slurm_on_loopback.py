"""A real Slurm on this machine alone: munge, one controller and two compute daemons, on free ports of the loopback.

    python tests/slurm_on_loopback.py COMMAND ...

runs COMMAND beside it and takes everything down again. Needs Debian's slurmctld, slurmd, slurm-client and munge, no
configuration, no system service and no root; all state is in a temporary folder, and /etc/slurm is not read.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from getpass import getuser
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")
NODES = ("n1", "n2")
os.environ["PATH"] += ":/usr/sbin:/sbin"  # where Debian puts the daemons

# MinJobAge: how long a finished job can still be asked for; 300 is Slurm's own default. The processors are as many as
# are written here, and the GPU of n2 is a name without a device: it shows where a job that asks for one is sent.
SLURM_CONF = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
MinJobAge=300
KillWait=5
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=16000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=16000 Gres=gpu:1
PartitionName=all Nodes=ALL Default=YES State=UP MaxTime=INFINITE
"""


def missing() -> list[str]:
    """The programs that have to be installed first."""
    return [program for program in PROGRAMS if not shutil.which(program)]


@contextmanager
def slurm() -> Iterator[dict[str, str]]:
    """A running Slurm; gives the environment in which its commands and `make report ON=slurm` find it.

    Raises `RuntimeError`, with the daemons' logs, if its nodes are not idle within two minutes.
    """
    with tempfile.TemporaryDirectory(prefix="slurm") as name, ExitStack() as daemons:
        folder = Path(name)
        (folder / "state").mkdir()
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o600)
        host = socket.gethostname().split(".")[0]
        text = SLURM_CONF.format(host=host, user=getuser(), folder=folder, ports=free_ports(3))
        (folder / "slurm.conf").write_text(text)
        (folder / "gres.conf").write_text("NodeName=n2 Name=gpu File=/dev/null\n")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_"))}
        environment = inherited | {"SLURM_CONF": str(folder / "slurm.conf")}
        # The executor's job steps drop SLURM_CONF and read /etc/slurm; this srun reads it all the same.
        srun = folder / "bin/srun"
        srun.parent.mkdir()
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)
        environment["PATH"] = f"{srun.parent}:{environment['PATH']}"

        def start(label: str, *command: str) -> None:
            log = daemons.enter_context(open(folder / f"{label}.log", "w"))
            # pdeathsig: should this process be killed, they end with it.
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command], stdout=log, stderr=log, env=environment
            )
            daemons.callback(stop, process)

        daemons.callback(end_leftovers, environment["SLURM_CONF"])
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        start("munged", "munged", "--foreground", "--force", *(f"--{k}={folder}/munge.{v}" for k, v in files.items()))
        wait_for((folder / "munge.socket").exists, folder, "munged")
        start("slurmctld", "slurmctld", "-D")
        for node in NODES:
            start(node, "slurmd", "-D", "-N", node)

        def idle() -> bool:
            shown = subprocess.run(["sinfo", "-h", "-N", "-o", "%T"], env=environment, capture_output=True, text=True)
            return shown.stdout.split() == ["idle"] * len(NODES)

        wait_for(idle, folder, "the nodes")
        daemons.callback(subprocess.run, ["scancel", "--user", getuser()], env=environment, timeout=60)
        yield environment


def free_ports(number: int) -> list[int]:
    """Ports of the loopback that nobody listens on."""
    with ExitStack() as open_now:
        sockets = [open_now.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(ready: object, folder: Path, what: str, seconds: int = 120) -> None:
    """Until `ready()`, or give up with what the daemons have written."""
    for _ in range(seconds * 5):
        if ready():
            return
        time.sleep(0.2)
    logs = "\n".join(f"-- {path.name}\n{path.read_text()[-2000:]}" for path in sorted(folder.glob("*.log")))
    raise RuntimeError(f"{what} did not come up within {seconds} s\n{logs}")


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_leftovers(conf: str) -> None:
    """End what jobs have left running: every process that was started with this cluster's SLURM_CONF."""
    mark = f"SLURM_CONF={conf}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), signal.SIGKILL)
        except OSError:
            pass  # gone already, or another user's


if __name__ == "__main__":
    if missing():
        sys.exit(f"error: {', '.join(missing())} not found: apt-get install slurmctld slurmd slurm-client munge")
    with slurm() as around:
        sys.exit(subprocess.run(sys.argv[1:], env=around).returncode)
