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


def item_of(path: Path) -> Item:
    return Item(path.stat().st_size, md5_of(path))


def at_remote(server, folder: str) -> dict[str, Item]:
    """The files below a folder of the bucket, as they lie on the server's disk."""
    root = server.root / folder
    return {str(path.relative_to(root)): item_of(path) for path in root.rglob("*") if path.is_file()}


def sent(front) -> set[str]:
    """The files of results that were written."""
    return {path.partition("?")[0].partition("/results/")[2] for method, path in front.requests if method == "PUT"}


def rules(run: Run) -> set[str]:
    """The rules of the jobs that ran."""
    return set(re.findall(r"^(?:local)?rule (\w+):", run.console, re.MULTILINE))


def wait_for(condition, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def told(server, run: Run) -> str:
    """The one sentence in which a run failed, which has no key in it."""
    assert run.status
    (sentence,) = {re.sub(r"^sync_\w+ \w+: |^sync_dataset: ", "", sentence) for sentence in run.sentences}
    assert not [key for key in server.secrets if key in run.console]
    return sentence


# Results


def test_what_is_finished_is_copied_and_nothing_is_made_again(synced, finished, server):
    workflow, run = synced
    assert run.status == 0, run.console
    assert rules(run) == {"sync_results", "sync_dataset", "all"}
    assert workflow.plan() == set()
    assert workflow.results("**/synced.json") == RECEIPTS
    there = at_remote(server, "shared/results")
    listed = {}
    for receipt in RECEIPTS:
        receipt = read_json(workflow.root / "results" / receipt)
        assert receipt["remote"] == "r2:bucket/shared/results"
        listed |= receipt["files"]
    assert {file: Item(**facts) for file, facts in listed.items()} == there
    assert {file: item_of(workflow.root / "results" / file) for file in there} == there
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
    assert {file for file in there if "/frames/" in file} == set(workflow.results("doll/*/frames/*.png"))
    assert not [file for file in there if file.startswith("xbot")]


def test_only_what_has_changed_is_sent_again(synced, front, tmp_path):
    workflow = synced[0].copy(tmp_path / "repository")
    file = workflow.root / "results" / "review" / "doll_fused.svg"  # of which nothing is made
    file.write_text(file.read_text() + "\n")
    run = workflow.run(*SYNCED)
    assert run.status == 0 and sent(front) == {"review/doll_fused.svg"}, run.console
    receipt = read_json(workflow.root / "results" / "doll" / "synced.json")
    assert Item(**receipt["files"]["review/doll_fused.svg"]) == item_of(file)


def test_a_killed_push_goes_on(synced, front, server, tmp_path):
    workflow = synced[0].copy(tmp_path / "repository")
    workflow.change("storage.remote", "r2:bucket/killed")
    front.slow(100_000)
    process = workflow.start("--cores", "2", "results/doll/synced.json")
    wait_for(lambda: len(at_remote(server, "killed/results")) > 10)
    os.killpg(process.pid, signal.SIGKILL)
    workflow.finish(process)
    front.slow(float("inf"))  # what has left goes on its way
    assert workflow.run("--unlock").status == 0
    before = at_remote(server, "killed/results")
    front.requests.clear()
    run = workflow.run("--cores", "2", "results/doll/synced.json")
    assert run.status == 0, run.console
    there = at_remote(server, "killed/results")
    assert sent(front) == {file for file, item in there.items() if before.get(file) != item}
    assert 0 < len(sent(front)) < len(there)
    listed = read_json(workflow.root / "results" / "doll" / "synced.json")["files"]
    assert {file: Item(**facts) for file, facts in listed.items()} == there


def test_a_broken_character_keeps_nothing_else_from_being_copied(synced, server, tmp_path):
    workflow = synced[0].copy(tmp_path / "repository")
    workflow.change("storage.remote", "r2:bucket/broken")
    (tmp_path / "broken.fbx").write_bytes(b"nothing of the kind")
    workflow.change("characters.broken", {"file": str(tmp_path / "broken.fbx")})
    run = workflow.run("--cores", "2")
    assert run.status and len(run.sentences) == 1 and "prepare broken" in run.sentences[0], run.console
    assert {file.partition("/")[0] for file in at_remote(server, "broken/results")} >= {"doll", "xbot"}


# Characters


@pytest.fixture(scope="module")
def doll(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("doll"), "plain.blend")


@pytest.fixture(scope="module")
def fetched_once(server, doll, tmp_path_factory) -> Workflow:
    """A workflow whose one character lies at the remote and has been fetched."""
    (server.root / "source" / "characters").mkdir(parents=True)
    shutil.copy(doll, server.root / "source" / "characters" / "a b's.blend")
    workflow = Workflow.new(
        tmp_path_factory.mktemp("fetched") / "repository",
        {
            "storage": {"remote": "r2:bucket/source"},
            "characters": {"doll": {"remote": "characters/a b's.blend"}},
            "cameras": {"angles": {"front": 0}},
        },
    )
    with mock.patch.dict(os.environ, server.environment):
        run = workflow.run("--cores", "1", "results/doll/source.json")
    assert run.status == 0 and rules(run) == {"sync_inputs"}, run.console
    return workflow


@pytest.fixture
def fetched(fetched_once, tmp_path) -> Workflow:
    """That workflow, to be changed."""
    return fetched_once.copy(tmp_path / "fetched")


def test_a_character_at_the_remote_is_fetched_and_again_when_its_content_changes(fetched, doll):
    here = fetched.root / "results" / "doll" / "source" / "characters" / "a b's.blend"
    item = item_of(doll)
    receipt = read_json(fetched.root / "results" / "doll" / "source.json")
    assert receipt["files"] == {"characters/a b's.blend": {"size": item.size, "md5": item.md5}}
    assert here.read_bytes() == doll.read_bytes()

    prepare = ["--cores", "1", "results/doll/character.json"]
    fetched.change("storage.remote", "r2:bucket/moved")
    there = Remote("r2:bucket/moved")
    there.write("characters/a b's.blend", doll.read_bytes())  # the same, elsewhere and later
    run = fetched.run(*prepare)
    assert run.status == 0 and rules(run) == {"prepare"}, run.console
    there.write("characters/a b's.blend", doll.read_bytes() + bytes(1))
    run = fetched.run(*prepare)
    assert run.status == 0 and rules(run) == {"sync_inputs", "prepare"}, run.console
    assert here.read_bytes() == doll.read_bytes() + bytes(1)


def test_a_character_that_is_not_at_the_remote_is_one_sentence(fetched, server):
    fetched.change("characters.other", {"remote": "characters/other.blend"})
    sentence = told(server, fetched.run("--cores", "1", "results/other/source.json", "results/doll/source.json"))
    assert "has no 'characters/other.blend'" in sentence


# Faults, secrets and deletion


def test_a_dry_run_asks_nobody(synced, fetched):
    os.environ["R2_ENDPOINT"] = "http://127.0.0.1:1"
    plan = fetched.plan()
    assert {"render doll front", "sync_results doll"} <= plan and "sync_inputs doll" not in plan
    for key in KEYS:
        del os.environ[key]
    assert synced[0].plan() == set()


@pytest.mark.parametrize("fault", ["refused the keys", "no such bucket"])
def test_what_is_wrong_is_one_sentence_and_costs_no_result(synced, fetched, server, tmp_path, fault):
    workflow = synced[0].copy(tmp_path / "repository")
    workflow.change("storage.remote", "r2:no-such-bucket/folder" if "bucket" in fault else "r2:bucket/refused")
    if "keys" in fault:
        os.environ["R2_SECRET_ACCESS_KEY"] = "0" * 64
    before = [file for file in workflow.results("**/*") if file not in RECEIPTS]
    sentence = told(server, workflow.run(*SYNCED))
    assert fault in sentence and sentence.startswith("r2:")
    assert workflow.results("**/*") == before

    fetched.change("storage.remote", workflow.config["storage"]["remote"])
    assert fault in told(server, fetched.run("--cores", "1", "results/doll/source.json"))
    assert (fetched.root / "results" / "doll" / "source" / "characters" / "a b's.blend").is_file()


def test_no_key_is_written_anywhere(synced, server, tmp_path):
    workflow = synced[0].copy(tmp_path / "repository")
    lines = [f"{name}={os.environ.pop(name)}\n" for name in server.environment]
    (workflow.root / ".r2_credentials").write_text("".join(lines))
    workflow.change("storage.remote", "r2:bucket/secret")
    run = workflow.run(*SYNCED, "--verbose", "--printshellcmds")
    assert run.status == 0, run.console
    report = workflow.run("--report", "report.html")
    assert report.status == 0 and (workflow.root / "report.html").is_file(), report.console
    written = [path for path in workflow.root.rglob("*") if path.is_file() and path.name != ".r2_credentials"]
    assert [path for path in written if path.name == "sync_results.log"]
    for key in server.secrets:
        assert key not in run.console + report.console
        assert not [path for path in written if key.encode() in path.read_bytes()]
    assert not [file for file in at_remote(server, "secret") if "credentials" in file]


def test_what_is_no_result_is_deleted_once_that_is_confirmed(synced, server, tmp_path):
    workflow = synced[0].copy(tmp_path / "repository")
    results = at_remote(server, "shared/results")
    Remote("r2:bucket/shared/results").write("gone before/old.json", b"12345")
    Remote("r2:bucket/shared").write("characters/own.fbx", b"1")  # is none of its business
    run = workflow.run("--cores", "1", "prune_remote")
    assert run.status == 0 and "5 bytes  gone before/old.json" in run.console, run.console
    assert "confirm=prune" in run.console and not [file for file in results if f"bytes  {file}" in run.console]
    assert set(at_remote(server, "shared/results")) == {*results, "gone before/old.json"}
    run = workflow.run("--cores", "1", "prune_remote", "--config", "confirm=prune")
    assert run.status == 0 and "Deleted 1 files" in run.console, run.console
    assert at_remote(server, "shared/results") == results
    assert "characters/own.fbx" in at_remote(server, "shared")
