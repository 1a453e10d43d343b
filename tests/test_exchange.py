"""What client and workers hand to each other, by way of a real S3 server: contents, each once, and records."""

import json
import os
import shutil
import tempfile
import threading
from pathlib import Path
from unittest import mock

import pytest
import s3
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from snakemake_executor_plugin_runpod.errors import RemoteError
from snakemake_executor_plugin_runpod.exchange import (
    PLACEHOLDER,
    Exchange,
    below,
    inside,
    manifests_of,
    part_of,
    sha256_of,
    together,
    without,
)
from snakemake_executor_plugin_runpod.remote import Remote

NOTHING = {"files": {}, "folders": []}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with s3.serve(tmp_path_factory.mktemp("s3") / "served") as server:
        yield server


@pytest.fixture
def front(server):
    """The proxy before the server, which sees all requests; the keys lead to it."""
    with s3.proxy(server) as front, mock.patch.dict(os.environ, front.environment):
        yield front


@pytest.fixture
def exchange(front, tmp_path) -> Exchange:
    """An exchange of this test's own."""
    return Exchange(Remote(f"r2:{front.server.bucket}/{tmp_path.name}"))


@pytest.fixture
def objects(server, tmp_path) -> Path:
    """Where the server keeps the contents."""
    return server.root / tmp_path.name / "objects"


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "root"


def fill(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def content_of(root: Path) -> dict[str, bytes | None]:
    """All that a folder holds: the contents of files, None for folders."""
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


def taken(front, method: str) -> list[str]:
    """The names of the contents that were written (PUT) or read (GET) since this was asked last.

    Each is named once: where two come at once into a folder that is new, the server has one of them sent again.
    """
    paths = [path.partition("?")[0] for done, path in front.requests if done == method]
    front.requests.clear()
    return sorted({path.rpartition("/")[2] for path in paths if "/objects/" in path})


def told(call, *arguments) -> str:
    with pytest.raises(RemoteError) as error:
        call(*arguments)
    sentence = str(error.value)
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


# There and back


def test_a_folder_comes_back_as_it_was(exchange, root, objects, tmp_path):
    files = {"tree/a b/$(touch x).py": b"1", "tree/tool": b"#!/bin/sh", "tree/empty": b"", "one.txt": b"2", "no": b"3"}
    fill(root, files)
    (root / "tree" / "tool").chmod(0o700)
    (root / "tree" / "no files" / "in here").mkdir(parents=True)
    manifest = exchange.push(["tree", "one.txt"], root)
    assert manifest["files"]["tree/tool"] == [sha256_of(root / "tree" / "tool"), 9, True]
    assert manifest == json.loads(json.dumps(manifest))
    exchange.pull(manifest, tmp_path / "back")
    del files["no"]
    folders = ["tree", "tree/a b", "tree/no files", "tree/no files/in here"]
    assert content_of(tmp_path / "back") == files | dict.fromkeys(folders)
    assert {path.name for path in (tmp_path / "back").rglob("*") if path.is_file() and os.access(path, os.X_OK)} == {
        "tool"
    }
    assert {path.name: path.read_bytes() for path in objects.iterdir()} == {
        sha256_of(root / name): content for name, content in files.items()
    }


# What is a name to Linux: also two lines, and bytes that are not UTF-8.
NAMES = (
    st.binary(min_size=1, max_size=12)
    .filter(lambda name: not set(name) & set(b"\0/") and name not in (b".", b".."))
    .map(os.fsdecode)
)
TREES = st.recursive(
    st.tuples(st.binary(max_size=50), st.booleans()),
    lambda tree: st.dictionaries(NAMES, tree, max_size=4),
    max_leaves=8,
).filter(lambda tree: isinstance(tree, dict))


def plant(folder: Path, tree: dict) -> None:
    folder.mkdir()
    for name, branch in tree.items():
        if isinstance(branch, dict):
            plant(folder / name, branch)
        else:
            (folder / name).write_bytes(branch[0])
            (folder / name).chmod(0o755 if branch[1] else 0o644)


def found(folder: Path) -> dict:
    return {
        path.name: found(path) if path.is_dir() else (path.read_bytes(), os.access(path, os.X_OK))
        for path in folder.iterdir()
    }


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=TREES)
@example(tree={"two\nlines": (b"1", True), "\udcff": {"-rf": (b"1", False), " ": {}}, '"': (b"", False)})
def test_any_tree_comes_back_as_it_was(exchange, tree):
    with tempfile.TemporaryDirectory() as folder:
        plant(Path(folder, "here"), {"tree": tree})
        manifest = json.loads(json.dumps(exchange.push(["tree"], Path(folder, "here"))))
        exchange.pull(manifest, Path(folder, "there"))
        assert found(Path(folder, "there")) == {"tree": tree}


def test_nothing_is_no_work(exchange, front, root):
    assert exchange.push([], root) == NOTHING
    exchange.pull(NOTHING, root)
    assert not front.requests and content_of(root) == {}


def test_links_travel_as_what_they_lead_to(exchange, root, tmp_path):
    fill(tmp_path / "elsewhere", {"deep/file": b"1"})
    root.mkdir()
    (root / "folder").mkdir()
    (root / "folder" / "link").symlink_to(tmp_path / "elsewhere")
    (root / "folder" / "file").symlink_to("link/deep/file")
    (root / "whole").symlink_to("folder/link")
    exchange.pull(exchange.push(["folder", "whole"], root), tmp_path / "back")
    assert content_of(tmp_path / "back") == {
        **dict.fromkeys(["folder", "folder/link", "folder/link/deep", "whole", "whole/deep"]),
        **dict.fromkeys(["folder/file", "folder/link/deep/file", "whole/deep/file"], b"1"),
    }
    assert not [path for path in (tmp_path / "back").rglob("*") if path.is_symlink()]


@pytest.mark.parametrize("target", [".", "..", "../other"])
def test_links_that_go_round_in_circles_are_one_sentence(exchange, root, target):
    (root / "folder" / "sub").mkdir(parents=True)
    (root / "folder" / "other").mkdir()
    (root / "folder" / "sub" / "link").symlink_to(target)
    (root / "folder" / "other" / "back").symlink_to("../sub")
    assert "links to a folder that it is in" in told(exchange.push, ["folder"], root)


def test_what_cannot_be_read_is_one_sentence(exchange, front, root):
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "dangling").symlink_to("gone")
    assert told(exchange.push, ["folder"], root) == (
        f"{root}/folder/dangling cannot be read (No such file or directory), so it cannot travel."
    )
    assert told(exchange.push, ["gone"], root) == f"{root}/gone does not exist, so it cannot travel."
    assert not front.requests


# Each content once


def test_a_content_is_sent_once_whatever_its_names(exchange, front, root, tmp_path):
    fill(root, {"a": b"same", "folder/b": b"same", "c": b"other"})
    (root / "c").chmod(0o755)
    (root / "d").write_bytes(b"other")
    manifest = exchange.push(["a", "folder", "c", "d"], root)
    contents = sorted({sha256_of(root / "a"), sha256_of(root / "c")})
    assert taken(front, "PUT") == contents
    exchange.pull(manifest, tmp_path / "back")
    assert taken(front, "GET") == contents
    assert content_of(tmp_path / "back") == content_of(root)
    assert [os.access(tmp_path / "back" / name, os.X_OK) for name in "cd"] == [True, False]
    (tmp_path / "back" / "a").write_bytes(b"changed")
    assert (tmp_path / "back" / "folder" / "b").read_bytes() == b"same"


def test_a_content_that_is_there_is_not_sent_again(exchange, front, root):
    fill(root, {"a": b"1", "b": b"2"})
    first = exchange.push(["a", "b"], root)
    assert len(taken(front, "PUT")) == 2
    os.utime(root / "a", (1, 1))
    (root / "b").rename(root / "renamed")
    fill(root, {"c": b"3"})
    second = exchange.push(["a", "renamed", "c"], root)
    assert taken(front, "PUT") == [sha256_of(root / "c")]
    assert second["files"]["a"] == first["files"]["a"] and second["files"]["renamed"] == first["files"]["b"]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"1" * 9)])
@pytest.mark.parametrize("cached", [True, False])
def test_a_content_that_is_damaged_or_missing_is_one_sentence_and_nothing_is_placed(
    exchange, front, root, objects, tmp_path, damage, cached
):
    fill(root, {"a": b"good", "b/c": b"bad"})
    manifest = exchange.push(["a", "b"], root)
    digest = sha256_of(root / "b" / "c")
    damage(objects / digest)
    back, cache = tmp_path / "back", tmp_path / "cache" if cached else None
    front.server.stop()  # it remembers what it served
    front.server.start()
    sentence = told(exchange.pull, manifest, back, cache)
    assert sentence.startswith(f"{exchange.remote.address}/objects/{digest} is missing or damaged; ")
    assert content_of(back) == {}
    assert not cached or digest not in os.listdir(cache)
    (objects / digest).unlink(missing_ok=True)
    front.server.stop()
    front.server.start()
    exchange.push(["a", "b"], root)
    exchange.pull(manifest, back, cache)
    assert content_of(back) == content_of(root)


def test_a_cache_spares_the_remote_and_is_not_what_jobs_change(exchange, front, root, tmp_path):
    fill(root, {"a": b"1", "b": b"1", "c": b"2"})
    cache = tmp_path / "cache"
    exchange.pull(exchange.push(["a"], root), tmp_path / "first", cache)
    (tmp_path / "first" / "a").write_bytes(b"changed")
    manifest = exchange.push(["a", "b", "c"], root)
    front.requests.clear()
    exchange.pull(manifest, tmp_path / "second", cache)
    assert taken(front, "GET") == [sha256_of(root / "c")]
    exchange.pull(manifest, tmp_path / "third", cache)
    assert not front.requests
    assert content_of(tmp_path / "second") == content_of(tmp_path / "third") == content_of(root)
    assert {path.name for path in cache.iterdir()} == {sha256_of(root / name) for name in "ac"}


def test_without_a_cache_the_disk_holds_each_content_once(exchange, root, tmp_path):
    """What arrives is moved, and copied only where there is more than one name for it."""
    fill(root, {"a": b"1", "b": b"2", "c": b"2", "d": b"2"})
    manifest = exchange.push("abcd", root)
    with mock.patch("shutil.copyfile", side_effect=shutil.copyfile) as copies:
        exchange.pull(manifest, tmp_path / "back")
    assert copies.call_count == 2
    assert content_of(tmp_path / "back") == content_of(root)


@pytest.mark.parametrize("cached", [True, False])
def test_a_file_is_in_its_place_whole_or_as_it_was(exchange, root, tmp_path, cached):
    """Who has the old one open goes on reading it, links are replaced and not written through, and whoever looks
    meanwhile finds all of one or the other."""
    back, size = tmp_path / "back", 8_000_000
    fill(root, {"big": b"new" * size, "link": b"new"})
    fill(back, {"big": b"old", "else": b"old"})
    (back / "link").symlink_to("else")
    manifest = exchange.push(["big", "link"], root)
    sizes, done = set(), threading.Event()

    def look():
        while not done.is_set():
            sizes.add((back / "big").stat().st_size)

    looker = threading.Thread(target=look)
    with (back / "big").open("rb") as old:
        looker.start()
        try:
            exchange.pull(manifest, back, tmp_path / "cache" if cached else None)
        finally:
            done.set()
            looker.join()
        assert old.read() == b"old"
    assert {3} <= sizes <= {3, 3 * size}
    assert (back / "else").read_bytes() == b"old"
    assert not (back / "link").is_symlink() and (back / "link").read_bytes() == b"new"
    assert sorted(os.listdir(back)) == ["big", "else", "link"]


# What stays at the remote


def leave(exchange: Exchange, root: Path, folder: str) -> dict:
    """Push a folder and leave a placeholder of it; returns what it lists."""
    stays = part_of(exchange.push([folder], root), folder)
    shutil.rmtree(root / folder)
    facts = {"remote": exchange.remote.address, "manifest": stays}
    fill(root, {f"{folder}/{PLACEHOLDER}": json.dumps(facts).encode()})
    return stays


def test_a_placeholder_is_what_it_lists_and_sends_nothing(exchange, front, root, tmp_path):
    fill(root, {"view/frames/1.png": b"1", "view/frames/deep/2.png": b"2", "view/render.json": b"{}"})
    (root / "view" / "frames" / "empty").mkdir()
    whole = exchange.push(["view"], root)
    before = content_of(root)
    leave(exchange, root, "view/frames")
    front.requests.clear()
    manifest = exchange.push(["view"], root)
    assert taken(front, "PUT") == []
    assert manifest["files"] == whole["files"] and set(manifest["folders"]) == set(whole["folders"])
    frames = exchange.push(["view/frames"], root)
    assert set(frames["files"]) == {"view/frames/1.png", "view/frames/deep/2.png"}
    exchange.pull(manifest, tmp_path / "back")
    assert content_of(tmp_path / "back") == before


def test_what_lies_beside_a_placeholder_does_not_spoil_what_it_lists(exchange, root, tmp_path):
    """Not even under a name that is listed."""
    fill(root, {"frames/1.png": b"good"})
    leave(exchange, root, "frames")
    fill(root, {"frames/1.png": b"by hand", "frames/2.png": b"by hand"})
    exchange.pull(exchange.push(["frames"], root), tmp_path / "back")
    assert content_of(tmp_path / "back") == {"frames": None, "frames/1.png": b"good"}


def test_a_file_of_a_placeholders_name_that_is_none_is_one_sentence(exchange, root):
    for content in (b"{}", b"[]", b"no JSON", b"\xff", b'{"manifest": {"files": []}}'):
        fill(root, {f"folder/{PLACEHOLDER}": content})
        assert f"{root}/folder/{PLACEHOLDER}" in told(exchange.push, ["folder"], root)


# Manifests

MANIFEST = {
    "files": {name: [f"of {name}", 1, False] for name in ("a/1", "a/b/2", "ab/3", "a.txt", "c")},
    "folders": ["a", "a/b", "ab"],
}


def test_a_part_of_a_manifest():
    assert part_of(MANIFEST, "a") == {
        "files": {"1": ["of a/1", 1, False], "b/2": ["of a/b/2", 1, False]},
        "folders": ["b"],
    }
    assert part_of(MANIFEST, "a/b") == {"files": {"2": ["of a/b/2", 1, False]}, "folders": []}
    assert part_of(MANIFEST, "nowhere") == NOTHING


def test_a_manifest_without_a_folder():
    rest = without(MANIFEST, "a")
    assert list(rest["files"]) == ["ab/3", "a.txt", "c"] and rest["folders"] == ["ab"]
    assert without(MANIFEST, "nowhere") == MANIFEST


def test_manifests_together():
    assert together() == NOTHING and together(MANIFEST) == MANIFEST
    folder = {"files": {}, "folders": ["a"]}
    again = together(without(MANIFEST, "a"), folder, below("a", part_of(MANIFEST, "a")))
    assert again["files"] == MANIFEST["files"] and sorted(again["folders"]) == MANIFEST["folders"]
    later = {"files": {"c": ["newer", 2, True]}, "folders": []}
    assert together(MANIFEST, later)["files"]["c"] == ["newer", 2, True]


# Nothing leads out


def test_a_path_inside(tmp_path, monkeypatch):
    assert inside(tmp_path, "a/../b/./c") == inside(tmp_path, f"{tmp_path}/b/c") == tmp_path / "b" / "c"
    assert inside(tmp_path, "..a") == tmp_path / "..a"
    monkeypatch.chdir(tmp_path)
    assert inside(Path("."), "a") == tmp_path / "a"


@pytest.mark.parametrize("path", ["..", "../a", "a/../../b", "/etc/passwd", ".", "", "a/..", "{root}", "{root}-not/a"])
def test_a_path_that_is_not_inside_is_one_sentence(exchange, front, root, path):
    path = path.format(root=root)
    fill(root.with_name("root-not"), {"a": b""})
    sentence = f"{path} is not below {root}; only files there can travel."
    assert told(inside, root, path) == told(exchange.push, [path], root) == sentence
    assert told(exchange.pull, {"files": {}, "folders": [path]}, root) == sentence
    assert not front.requests


def test_a_manifest_that_leads_out_writes_nothing(exchange, root, tmp_path):
    fill(root, {"a": b"1"})
    facts = exchange.push(["a"], root)["files"]["a"]
    before = content_of(tmp_path)
    back = tmp_path / "back"
    assert "is not below" in told(exchange.pull, {"files": {"a": facts, "../b": facts}, "folders": ["c"]}, back)
    assert content_of(tmp_path) == before


def test_absolute_paths_inside_travel_as_relative_ones(root):
    fill(root, {"a/b": b"1"})
    facts = [sha256_of(root / "a" / "b"), 1, False]
    assert manifests_of([f"{root}/a"], root)[0] == {"files": {"a/b": facts}, "folders": ["a"]}


# Records and logs


def test_records_and_logs_of_attempts(exchange, front, server, tmp_path):
    assert exchange.record("one", "order") is exchange.log("one") is None
    facts = {"name": "日本語\n", "seconds": {"run": 1.5}, "error": None, "files": {"\udcff": ["", 0, True]}}
    exchange.write_record("one", "order", facts)
    exchange.write_record("two", "order", {})
    assert exchange.record("one", "order") == facts and exchange.record("two", "order") == {}
    assert exchange.record("one", "exit") is None
    exchange.write_record("one", "order", {"changed": True})
    assert exchange.record("one", "order") == {"changed": True}
    log = tmp_path / "log.txt"
    for text in (
        b"",
        b"half of \xe6\x97",
        "half of 日\nand more\n".encode(),
    ):  # where a job is in the middle of a letter
        log.write_bytes(text)
        exchange.write_log("one", log)
        assert exchange.log("one") == text.decode(errors="replace")
    assert sorted(path.name for path in (server.root / tmp_path.name / "attempts" / "one").iterdir()) == [
        "log.txt",
        "order.json",
    ]
