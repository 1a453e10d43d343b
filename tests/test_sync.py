"""Results to the remote and characters from there, by real runs of the workflow against a real S3 server."""

import os
import re
import shutil
import signal
import time
from pathlib import Path
from unittest import mock

import pytest
from characters import make
from s3 import proxy, serve
from snakemake_executor_plugin_runpod.remote import KEYS, Item, Remote, md5_of

from pose_factory.files import read_json
from workflow import Run, Workflow

RECEIPTS = ["dataset/synced.json", "doll/synced.json", "xbot/synced.json"]
SYNCED = ["--cores", "2", *(f"results/{receipt}" for receipt in RECEIPTS)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("s3") / "served") as server:
        yield server


@pytest.fixture(autouse=True)
def environment(server, tmp_path):
    """The server's keys, and no configuration of the user's; as it was before afterwards."""
    with mock.patch.dict(os.environ):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("R2_", "RCLONE_"))}
        os.environ.clear()
        os.environ.update(clean, **server.environment, RCLONE_CONFIG=str(tmp_path / "none.conf"))
        yield


@pytest.fixture
def front(server):
    """The proxy before the server, which is what the keys lead to now."""
    with proxy(server) as front:
        os.environ.update(front.environment)
        yield front


@pytest.fixture(scope="module")
def synced(finished, server, tmp_path_factory) -> tuple[Workflow, Run]:
    """The finished run, to which a remote was added, and how the run after that went. To be looked at or copied."""
    workflow = finished.copy(tmp_path_factory.mktemp("synced") / "repository")
    workflow.change("storage.remote", "r2:bucket/shared")
    with mock.patch.dict(os.environ, server.environment):
        return workflow, workflow.run("--cores", "2")


def at_remote(server, folder: str) -> dict[str, Item]:
    """The files below a folder of the bucket, as they lie on the server's disk."""
    root = server.root / folder
    return {
        str(path.relative_to(root)): Item(path.stat().st_size, md5_of(path)) for path in root.rglob("*") if path.is_file()
    }


def sent(front) -> set[str]:
    """The files of results that were written."""
    return {path.partition("?")[0].partition("/results/")[2] for method, path in front.requests if method == "PUT"}


def told(server, run: Run) -> str:
    """The one sentence in which a run failed, which has no key in it."""
    assert run.status
    (sentence,) = set(run.sentences)
    assert not [key for key in server.secrets if key in run.console]
    return sentence


# Results


def test_what_is_finished_is_copied_and_nothing_is_made_again(synced, finished, server):
    workflow, run = synced
    assert run.status == 0, run.console
    assert set(re.findall(r"^local ?rule (\w+):|^localrule (\w+):", run.console, re.MULTILINE)) >= {("", "sync_results")}
    assert workflow.plan() == set()
    assert workflow.results("**/synced.json") == RECEIPTS
    there = at_remote(server, "shared/results")
    listed = {}
    for receipt in RECEIPTS:
        receipt = read_json(workflow.root / "results" / receipt)
        assert receipt["remote"] == "r2:bucket/shared/results"
        listed |= receipt["files"]
    assert {file: Item(**facts) for file, facts in listed.items()} == there
    assert {file: Item((path := workflow.root / "results" / file).stat().st_size, md5_of(path)) for file in there} == there
    names = {Path(file).name for file in there}
    assert names >= {"tracks.parquet", "ground_truth.parquet", "overlay.mp4", "summary.csv", "xbot.png", "track.log"}
    assert not [file for file in there if "/frames/" in file]


def test_pictures_go_where_the_config_wants_them(synced, server, tmp_path):
    workflow = synced[0].copy(tmp_path / "repository")
    workflow.change("storage.remote", "r2:bucket/pictures")
    workflow.change("storage.frames", True)
    run = workflow.run("--cores", "2", "results/doll/synced.json")
    assert run.status == 0, run.console
    there = at_remote(server, "pictures/results")
    assert {file for file in there if "/frames/" in file} == set(workflow.results("doll/*/frames/*"))
    assert not [file for file in there if file.startswith("xbot")]


def test_only_what_has_changed_is_sent_again(synced, front, tmp_path):
    workflow = synced[0].copy(tmp_path / "repository")
    file = workflow.root / "results" / "doll" / "rig_bias.json"
    file.write_text(file.read_text() + "\n")
    run = workflow.run(*SYNCED)
    assert run.status == 0, run.console
    (result,) = {name for name in sent(front) if not name.startswith("doll/logs")}
    assert result == "doll/rig_bias.json"
    assert read_json(workflow.root / "results" / "doll" / "synced.json")["files"][result]["md5"] == md5_of(file)
