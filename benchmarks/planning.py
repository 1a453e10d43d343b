"""What a dry run of the workflow costs, beside one of as many jobs that have nothing but a script and a file."""

import re
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

SNAKEFILE = Path(__file__).parents[1] / "Snakefile"
BARE = """
rule all:
    input: [f"results/{{number}}" for number in range({jobs} - 1)]

rule bare:
    output: "results/{{number}}"
    script: "bare.py"
"""


def measure(characters: int, views: int) -> tuple[int, float, float]:
    """How many jobs so many Anny bodies, each seen from `views` angles, are; and the CPU seconds of a dry run of the
    workflow and of as many bare jobs."""
    config = {
        "characters": {f"body_{number}": {"anny": {"motion": "walk"}} for number in range(characters)},
        "cameras": {"angles": {f"angle_{number}": 360 * number / views for number in range(views)}},
    }
    with TemporaryDirectory() as folder:
        file = Path(folder) / "config" / "config.yaml"
        file.parent.mkdir()
        file.write_text(yaml.safe_dump(config))
        jobs, ours = _dry_run(SNAKEFILE, Path(folder))
    with TemporaryDirectory() as folder:
        (Path(folder) / "bare.py").touch()
        (Path(folder) / "Snakefile").write_text(BARE.format(jobs=jobs))
        counted, bare = _dry_run(Path(folder) / "Snakefile", Path(folder))
    assert counted == jobs, f"{counted} bare jobs in place of {jobs}"
    return jobs, ours, bare


def _dry_run(snakefile: Path, folder: Path) -> tuple[int, float]:
    """The jobs and CPU seconds of a dry run that starts in `folder`."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--dry-run"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    jobs = int(re.search(r"^total +(\d+)$", done.stdout, re.MULTILINE)[1])
    return jobs, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
