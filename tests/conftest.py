"""What several modules of tests share: one finished run of the workflow."""

from pathlib import Path

import pytest
from characters import make

from workflow import Workflow


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workflow:
    """A complete run over two characters and two angles, to be looked at or copied, not changed.

    `xbot` comes from a file with another name and spaces in its path.
    """
    folder: Path = tmp_path_factory.mktemp("finished")
    xbot, doll = make(folder / "My Characters", "with spaces in its name.fbx"), make(folder, "plain.blend")
    with doll.open("ab") as file:
        file.write(bytes(2**20))  # files above 1 MB are a case of their own to Snakemake
    workflow = Workflow.new(
        folder / "repository",
        {
            "characters": {"xbot": {"file": str(xbot)}, "doll": {"file": str(doll)}},
            "cameras": {"resolution": [96, 128], "angles": {"front": 0, "left": 270}},
            "render": {"samples": 1, "denoise": False, "frames": {"step": 4}},
        },
    )
    run = workflow.run("--cores", "2")
    assert run.status == 0, run.console
    return workflow
