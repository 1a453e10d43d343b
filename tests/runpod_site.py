"""A stand-in for a RunPod account, of real parts wherever there are any: workers, clients, rclone, an S3 server."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fake_runpod import FakeRunpod
from s3 import Server, serve
from snakemake_executor_plugin_runpod.ledger import Entry, Ledger

from workflow import Run, Workflow

WORKER = [sys.executable, "-m", "snakemake_executor_plugin_runpod.worker"]
PROFILE = """\
executor: runpod
jobs: 20
local-cores: 1
seconds-between-status-checks: 1
latency-wait: 0
runpod-remote: r2:bucket/exchange
"""


@dataclass
class Site:
    """An account with one endpoint and a bucket, and a clone in which Snakemake runs."""

    runpod: FakeRunpod
    s3: Server
    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    """More variables for Snakemake."""
    started: list[subprocess.Popen] = field(default_factory=list)

    def worker(self, **environment: str) -> str:
        """Start a worker of the endpoint."""
        work = self.root.parent / "work"
        work.mkdir(exist_ok=True)
        return self.runpod.start_worker(WORKER, {**self.s3.environment, "RUNPOD_WORK": str(work), **environment})

    def start(self, *arguments: str) -> subprocess.Popen:
        """Snakemake in the clone, in a process group of its own, with the account's variables."""
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        account = self.runpod.client_environment | self.s3.environment
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("snakemake")), *arguments],
            cwd=self.root,
            env={**inherited, **account, "SNAKEMAKE_RUNPOD_ENDPOINT": self.runpod.endpoint, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen, timeout: float = 120) -> Run:
        return Workflow(self.root).finish(process, timeout)

    def run(self, *arguments: str, timeout: float = 120) -> Run:
        """Snakemake with the profile `runpod` and these arguments, to its end."""
        return self.finish(self.start("--profile", "runpod", *arguments), timeout)

    def commit(self) -> None:
        """Make the clone a git repository, with all that is in it."""
        for arguments in (["init", "-q"], ["add", "-A"]):
            subprocess.run(["git", *arguments], cwd=self.root, check=True)

    def ledger(self) -> list[Entry]:
        """What was sent from the clone, oldest first."""
        return list(Ledger(self.root / ".snakemake" / "runpod" / "ledger.sqlite"))

    def replace(self, file: str, old: str, new: str) -> None:
        Workflow(self.root).replace(file, old, new)


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """An account, up within the context, and an empty clone."""
    (folder / "clone").mkdir(parents=True)
    with serve(folder / "s3") as s3, FakeRunpod() as runpod:
        runpod.poll_seconds = 1
        made = Site(runpod, s3, folder / "clone")
        try:
            yield made
        finally:
            for process in made.started:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.communicate()
