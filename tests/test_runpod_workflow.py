"""The whole workflow on RunPod: the same files as at home."""

import shutil
from pathlib import Path

import cv2
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from runpod_site import Site, site

from workflow import REPOSITORY, Workflow

TABLES = ("tracks", "people", "ground_truth", "boxes", "joints", "repaired")


@pytest.fixture
def account(tmp_path, finished: Workflow):
    """A site whose clone is the finished run's workflow, with its characters and without its results."""
    with site(tmp_path) as made:
        made.root.rmdir()
        ignored = shutil.ignore_patterns("results", ".snakemake")
        shutil.copytree(finished.root, made.root, ignore=ignored)
        clone = Workflow(made.root)
        for name, character in finished.config["characters"].items():
            source = Path(character["file"])
            shutil.copy(source, made.root / source.name)
            clone.change(f"characters.{name}.file", source.name)
        (made.root / "runpod").symlink_to("profiles/runpod")
        shutil.copytree(REPOSITORY / "profiles" / "runpod", made.root / "profiles" / "runpod", dirs_exist_ok=True)
        profile = made.root / "profiles" / "runpod" / "config.yaml"
        text = profile.read_text().replace("seconds-between-status-checks: 10", "seconds-between-status-checks: 1")
        profile.write_text(text.replace("r2:pose-factory/exchange", "r2:bucket/exchange"))
        (made.root / ".gitignore").write_text(".snakemake/\nresults/\n__pycache__/\n*.fbx\n*.blend\n")
        made.commit()
        yield made


def test_the_command_of_the_readme_gives_the_same_tables_as_at_home(account: Site, finished: Workflow):
    account.worker()
    run = account.run(timeout=280)
    assert run.status == 0, run.console
    assert len(account.runpod.requests) == 2  # a character each
    here, there = finished.root / "results", account.root / "results"
    for view in ("xbot/front", "xbot/left", "doll/front", "doll/left"):
        for table in TABLES:
            file = f"{view}/{table}.parquet"
            assert_frame_equal(pd.read_parquet(here / file), pd.read_parquet(there / file), obj=file)
        frames = list((here / view / "frames").glob("*.png"))
        assert frames
        for frame in frames:
            images = [cv2.imread(str(place / view / "frames" / frame.name)) for place in (here, there)]
            assert (images[0] == images[1]).all(), frame
    assert_frame_equal(*(pd.read_parquet(place / "dataset/summary.parquet") for place in (here, there)))
    again = account.finish(account.start("--cores", "2", "--dry-run"))
    assert "Nothing to be done" in again.console, again.console
    local = {str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()}
    assert {str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()} == local


def test_one_character_alone_and_a_broken_one_among_good_ones(account: Site):
    (account.root / "plain.blend").write_bytes(b"no Blender file at all")
    account.worker()
    run = account.run("results/xbot/front/camera.json", "results/doll/front/camera.json", timeout=280)
    assert run.status != 0
    assert (account.root / "results/xbot/front/camera.json").exists()
    assert any("doll" in sentence for sentence in run.sentences), run.console
    assert (account.root / "results/doll/logs/prepare.log").exists()
