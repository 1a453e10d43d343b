"""The real workflow in a copy of the repository, and what Snakemake says that it would do or did."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "rules", "workflow", "src", "profiles", "envs", "pyproject.toml")

_BLOCK = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)*)", re.MULTILINE)
_WILDCARDS = re.compile(r"^    wildcards: (.*)$", re.MULTILINE)
_STATS = re.compile(r"^Job stats:\njob +count\n[- ]+\n((?:\w+ +\d+\n)+)", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """How a run ended: its exit status, and all that it wrote to the console."""

    status: int
    console: str

    @property
    def sentences(self) -> list[str]:
        """What the jobs told the user, a line each."""
        return [line.removeprefix("Error: ") for line in self.console.splitlines() if line.startswith("Error: ")]

    @property
    def started(self) -> bool:
        """Whether any job was about to run."""
        return "Job stats" in self.console or bool(_BLOCK.search(self.console))


@dataclass(frozen=True)
class Workflow:
    """A copy of the workflow in the folder `root`, whose config, code and results a test may change."""

    root: Path

    @classmethod
    def new(cls, root: Path, config: dict) -> "Workflow":
        """Copy the working tree's workflow and give it this config."""
        root.mkdir(parents=True)
        for part in PARTS:
            source = REPOSITORY / part
            if source.is_dir():
                shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy2(source, root / part)
        workflow = cls(root)
        workflow.configure(config)
        return workflow

    def copy(self, root: Path) -> "Workflow":
        """All of it again, results, Snakemake's memory and modification times included."""
        shutil.copytree(self.root, root)
        return Workflow(root)

    @property
    def config(self) -> dict:
        return yaml.safe_load((self.root / "config" / "config.yaml").read_text())

    def configure(self, config: dict) -> None:
        path = self.root / "config" / "config.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(config, sort_keys=False))

    def change(self, path: str, value) -> None:
        """Change the config's value at this dotted path."""
        config = self.config
        *parents, last = path.split(".")
        inner = config
        for key in parents:
            inner = inner.setdefault(key, {})
        inner[last] = value
        self.configure(config)

    def replace(self, file: str, old: str, new: str) -> None:
        """Change the one place of a source file that reads `old`."""
        path = self.root / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file} has {text.count(old)} places that read {old!r}"
        path.write_text(text.replace(old, new))

    def results(self, pattern: str) -> list[str]:
        """The files and folders of the results that fit a glob pattern, relative to the results."""
        folder = self.root / "results"
        return sorted(str(path.relative_to(folder)) for path in folder.glob(pattern))

    def start(self, *arguments: str) -> subprocess.Popen:
        """Snakemake with these arguments, as the leader of a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.root,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen, timeout: float = 200) -> Run:
        """Wait for what `start` started. Nothing of it outlives its time."""
        try:
            console, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return Run(process.returncode, console)

    def run(self, *arguments: str) -> Run:
        """Snakemake with these arguments, to its end."""
        return self.finish(self.start(*arguments))

    def plan(self, *arguments: str) -> set[str]:
        """The jobs that Snakemake would run, such as "render xbot front", without `all`."""
        done = self.run("--cores", "2", "--dry-run", *arguments)
        assert done.status == 0, done.console
        jobs = [
            " ".join([rule, *re.findall(r"\w+=([^,]+)", "".join(_WILDCARDS.findall(body)))])
            for rule, body in _BLOCK.findall(done.console)
        ]
        counts = Counter(job.split()[0] for job in jobs)
        assert len(set(jobs)) == len(jobs) and counts == _counted(done.console), done.console
        return set(jobs) - {"all"}


def _counted(console: str) -> Counter:
    """Snakemake's own count of jobs by rule, which it prints before and after the jobs of a dry run."""
    tables = set(_STATS.findall(console))
    if not tables:
        assert "Nothing to be done" in console, console
        return Counter()
    (table,) = tables
    counts = Counter({rule: int(count) for rule, count in (line.split() for line in table.splitlines())})
    assert counts.pop("total") == counts.total()
    return counts


def jobs(rules: str, *names: Iterable[str]) -> set[str]:
    """The jobs of these rules (a name each, parted by spaces) for all combinations of wildcard values."""
    return {" ".join(job) for job in product(rules.split(), *names)}
