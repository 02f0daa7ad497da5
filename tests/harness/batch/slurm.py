"""Slurm on this machine, for tests: munged, slurmctld and slurmd on free ports of the loopback interface; one node.

Everything lies in a temporary folder, and ends with the block. Needs root, as slurmd does.
"""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil
import pytest

PROGRAMS: Final = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "sinfo")
STARTED_S: Final = 120.0
CONFIG: Final = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
KillWait=5
MailProg=/bin/true
NodeName=node NodeAddr=127.0.0.1 NodeHostname={host} CPUs=4 RealMemory=32000 State=UNKNOWN
PartitionName=course Nodes=node Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def open_slurm() -> Iterator[dict[str, str]]:
    """Start the daemons. Gives the variables with which Slurm's and Dask's commands find them."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # munged refuses sockets that others cannot reach
        for part in ("state", "spool"):
            (folder / part).mkdir()
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o600)
        config = folder / "slurm.conf"
        config.write_text(CONFIG.format(host=socket.gethostname(), folder=folder, ports=_find_free_ports(2)))
        files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "seed-file": "munge.seed"}
        munge = ["munged", "--foreground", *(f"--{option}={folder / file}" for option, file in files.items())]
        environ = {**os.environ, "SLURM_CONF": str(config), "DASK_JOBQUEUE__SLURM__INTERFACE": "lo"}
        daemons = (munge, ["slurmctld", "-D", "-f", config], ["slurmd", "-D", "-f", config, "-N", "node"])
        for command in daemons:
            stack.enter_context(_run_daemon(command, folder / f"{command[0]}.log"))
            if command is munge:
                _wait_for(folder / "munge.socket")
        _wait_for_node(environ)
        yield environ


@contextmanager
def _run_daemon(command: Sequence[object], log: Path) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen([*map(str, command)], stdout=file, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def _find_free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + STARTED_S
    while not path.exists():
        _require_time(deadline, f"{path.name} does not appear")
        time.sleep(0.1)


def _wait_for_node(environ: dict[str, str]) -> None:
    deadline, said = time.monotonic() + STARTED_S, ""
    while said != "idle":
        _require_time(deadline, f"its node is not idle, but {said!r}")
        time.sleep(0.5)
        asked = subprocess.run(["sinfo", "--noheader", "--format=%T"], env=environ, capture_output=True, text=True)
        said = asked.stdout.strip()


def _require_time(deadline: float, what: str) -> None:
    """Skip the test on a machine on which the daemons cannot run: it says nothing about the project."""
    if time.monotonic() >= deadline:
        pytest.skip(f"Slurm does not start on this machine: {what}")


def list_jobs(environ: dict[str, str]) -> list[str]:
    """List the ids of jobs that wait or run."""
    command = ["squeue", "--noheader", "--format=%A"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.split()


def cancel_jobs(environ: dict[str, str]) -> None:
    """End all jobs, as somebody does who cancels them."""
    subprocess.run(["scancel", *list_jobs(environ)], env=environ, check=True)


def kill_processes(environ: dict[str, str]) -> None:
    """End all processes of jobs with SIGKILL, as a node does that runs out of memory."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            own = process.environ()
            if own.get("SLURM_CONF") == environ["SLURM_CONF"] and "SLURM_JOB_ID" in own:
                process.kill()
