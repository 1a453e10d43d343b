"""The profile for clusters on a real Slurm of one node, started here on the loopback interface (.ci/clusters.sh)."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from workflow import REPOSITORY, Run, Workflow

PLUGINS = REPOSITORY / ".venv" / "plugins"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue")
PROFILE = REPOSITORY / "profiles" / "slurm"
# Quick answers; of accounting this Slurm has none, so `squeue` is asked.
TESTING = "--slurm-status-command squeue --slurm-init-seconds-before-status-checks 1 --seconds-between-status-checks 1"

missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
missing += [] if PLUGINS.is_dir() else ["its Snakemake plugin"]
pytestmark = [
    pytest.mark.skipif(
        bool(missing), reason=f"NOT TESTED, for lack of {', '.join(missing)}: run .ci/clusters.sh as root"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root can start Slurm"),
]

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
MpiDefault=none
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=32000 Gres=gpu:1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def running(root: Path, *command: str) -> Iterator[None]:
    """A daemon, which stays in the foreground, and its output in a file."""
    with (root / f"{command[0]}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A running cluster: the environment in which Slurm's commands, and Snakemake, work with it."""
    root = tmp_path_factory.mktemp("slurm")
    for folder in ("state", "spool", "bin"):
        (root / folder).mkdir()
    (root / "key").write_bytes(secrets.token_bytes(1024))
    (root / "key").chmod(0o400)
    (root / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    config = root / "slurm.conf"
    config.write_text(CONFIG.format(host=socket.gethostname(), root=root, ports=free_ports(2)))
    path = f"{os.environ['PATH']}:/usr/sbin"
    # The plugin takes all SLURM_... variables away from srun, also the one that says where Slurm's configuration is.
    srun = root / "bin" / "srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={config} exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    patch = pytest.MonkeyPatch()
    patch.setenv("PATH", f"{root / 'bin'}:{path}")
    patch.setenv("SLURM_CONF", str(config))
    munge = [f"--{name}={root}/{file}" for name, file in {"socket": "munge.socket", "key-file": "key"}.items()]
    munge += [f"--{name}={root}/munge.{name}" for name in ("pid-file", "log-file", "seed-file")]
    with (
        running(root, "munged", "--foreground", "--force", *munge),
        running(root, "slurmctld", "-D"),
        running(root, "slurmd", "-D"),
    ):
        deadline = time.monotonic() + 60
        while "idle" not in _answer("sinfo", "--noheader", "--format=%T"):
            if time.monotonic() > deadline:
                logs = "\n".join(file.read_text() for file in root.glob("*.log"))
                pytest.fail(f"Slurm does not start:\n{logs}")
            time.sleep(0.2)
        yield
    patch.undo()


def _answer(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.fixture
def snakemake(cluster, monkeypatch):
    """Runs a workflow through the profile."""
    monkeypatch.setenv("PYTHONPATH", str(PLUGINS))

    def run(workflow: Workflow, *arguments: str) -> Run:
        command = ["snakemake", "--profile", str(PROFILE), *TESTING.split(), *arguments]
        done = subprocess.run(command, cwd=workflow.root, capture_output=True, text=True, check=False, timeout=250)
        return Run(done.returncode, done.stdout + done.stderr)

    return run


SMALL = """
rule all:
    input: "good.txt", "bad.txt"

rule good:
    output: "good.txt"
    resources: gpu=1
    shell: "echo $SLURM_JOB_ID $CUDA_VISIBLE_DEVICES > {output}"

rule bad:
    output: "bad.txt"
    shell: "exit 3"
"""


def test_a_job_runs_in_slurm_with_a_gpu_and_one_that_fails_is_noticed(snakemake, tmp_path):
    (tmp_path / "Snakefile").write_text(SMALL)
    run = snakemake(Workflow(tmp_path), "--groups", "good=one", "bad=two")
    assert run.status == 1, run.console
    submitted = re.findall(r"submitted with SLURM jobid (\d+)", run.console)
    job, gpu = (tmp_path / "good.txt").read_text().split()
    assert job in submitted and len(submitted) == 2
    assert gpu == "0"
    assert "Error in rule bad" in run.console and not (tmp_path / "bad.txt").exists()


def test_a_characters_jobs_are_one_in_slurm(snakemake, tmp_path):
    eve = {"anny": {"motion": "walk", "frames": 2}}
    workflow = Workflow.new(tmp_path / "repository", {"characters": {"eve": eve}})
    run = snakemake(workflow, "results/eve/bounds.json")
    assert run.status == 0, run.console
    assert len(re.findall("submitted with SLURM jobid", run.console)) == 1
    assert workflow.results("eve/*.json") == ["eve/bounds.json", "eve/character.json"]
