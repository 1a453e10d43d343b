"""Every command that the documents teach, run as they write it; every file that they point to is there."""

import re
import shlex
import subprocess

import pytest

from pose_factory.hmr2 import models
from workflow import REPOSITORY

DOCUMENTS = [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/*.md")), REPOSITORY / "benchmarks" / "README.md"]


def commands(program: str) -> list[str]:
    """The commands of all documents' bash blocks that start with `program`, without their comments."""
    blocks = [block for path in DOCUMENTS for block in re.findall(r"```bash\n(.*?)```", path.read_text(), re.DOTALL)]
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(f"{program} ")]


def test_there_is_no_command_that_is_not_tried():
    blocks = [block for path in DOCUMENTS for block in re.findall(r"```bash\n(.*?)```", path.read_text(), re.DOTALL)]
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    assert len(lines) == len(commands("make")) + len(commands("snakemake"))


@pytest.fixture(scope="module")
def workflow(finished, tmp_path_factory):
    """The finished run, with files in the place of HMR2's, which are gigabytes to download."""
    workflow = finished.copy(tmp_path_factory.mktemp("documents") / "copy")
    for name in (*models.ARCHIVE.files, *(file for source in models.PHALP for file in source.files)):
        (workflow.root / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (workflow.root / "models" / name).touch()
    return workflow


@pytest.mark.parametrize("command", commands("snakemake"))
def test_snakemake_commands_work(workflow, command):
    """The finished run's `doll` stands in for the demo's `ada`."""
    run = workflow.run(*shlex.split(command.replace("ada", "doll"))[1:])
    assert run.status == 0, run.console
    for target in re.findall(r"results/review/report\.html", command):
        assert (workflow.root / target).stat().st_size > 10_000


@pytest.mark.parametrize("command", sorted(set(commands("make"))))
def test_make_targets_exist(command):
    """`make test` is running this; the demo itself is too long for a test."""
    done = subprocess.run(
        [*shlex.split(command), "--dry-run"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target
