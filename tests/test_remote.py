"""The remote, by the real rclone against a real S3 server: any name, any fault, and no key where it can be read."""

import os
import re
import shutil
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from s3 import proxy, serve
from snakemake_executor_plugin_runpod import remote as module
from snakemake_executor_plugin_runpod.errors import RemoteError
from snakemake_executor_plugin_runpod.remote import CREDENTIALS, KEYS, Item, Remote, md5_of

# rclone-python leaves its pipes to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

NAMES = [
    "a b's $(touch x);.fbx",
    '`touch y` && "quoted" \\ *?[z]{}.fbx',
    "-rf",
    "--config=x.conf",
    " leading and trailing .fbx ",
    "#comment.fbx",
    "; also a comment in some lists",
    "日本語 Ünïcödé 🕺.glb",
    "100%.txt",
    "%41.txt",
    "a+b&c=d.txt",
    "deep/er/folders here/$HOME.txt",
    ".hidden",
    "~tilde",
    "no-break\u00a0space, as macOS writes it",
    "-",
    "{}",
    "r2:looks/like a remote",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("s3") / "served") as server:
        yield server


@pytest.fixture(autouse=True)
def environment(server, tmp_path, monkeypatch):
    """The server's keys, no configuration of the user's, an empty working folder; as it was before afterwards."""
    with mock.patch.dict(os.environ):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("R2_", "RCLONE_"))}
        os.environ.clear()
        os.environ.update(clean, **server.environment, RCLONE_CONFIG=str(tmp_path / "none.conf"))
        (tmp_path / "cwd").mkdir()
        monkeypatch.chdir(tmp_path / "cwd")
        monkeypatch.setattr(module, "WAIT", 0.1)
        yield


@pytest.fixture
def remote(request) -> Remote:
    """A folder of the bucket that is this test's own."""
    return Remote(f"r2:bucket/{re.sub('[^a-z0-9_]', '-', request.node.name)}")


@pytest.fixture
def faulty(server):
    """The proxy before the server, which is what the keys lead to now."""
    with proxy(server) as front:
        os.environ.update(front.environment)
        yield front


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "local"


@pytest.fixture
def impatient(monkeypatch):
    """What fails for good is not tried over and over."""
    monkeypatch.setattr(module, "ATTEMPTS", 1)


def fill(folder: Path, files: dict[str, bytes]) -> dict[str, Item]:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return {name: Item(len(content), md5_of(folder / name)) for name, content in files.items()}


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sent(front) -> set[str]:
    """The paths of the files that were written; rclone repeats what a server fails at, as rclone's own may."""
    return {path.partition("?")[0] for method, path in front.requests if method == "PUT"}


def told(server, call, *arguments) -> str:
    """The one sentence in which a call fails, which holds no key."""
    with pytest.raises(RemoteError) as error:
        call(*arguments)
    sentence = str(error.value)
    assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 250
    assert not [key for key in server.secrets if key in sentence]
    assert error.value.__suppress_context__ or not error.value.__context__  # nor does a traceback
    return sentence


# Files there and back


def test_any_name_goes_there_and_back_and_runs_nothing(remote, folder, tmp_path):
    files = {name: f"content of {name}".encode() for name in NAMES}
    items = fill(folder, files)
    (folder / "not asked for").write_bytes(b"")
    remote.push(folder, files)
    assert remote.listing() == remote.listing(files) == items
    assert remote.differing(folder, files) == []
    back = tmp_path / "back $(touch z) 'quoted'"
    remote.pull(back, files)
    assert content_of(back) == files
    assert not list(Path.cwd().iterdir())


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(
        st.text(
            st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="/"), min_size=1, max_size=20
        ).filter(lambda name: name not in (".", "..")),
        min_size=1,
        max_size=20,
        unique=True,
    ),
    content=st.binary(max_size=100),
)
def test_any_name_of_one_line_goes_there_and_back(remote, tmp_path_factory, names, content):
    folder = tmp_path_factory.mktemp("names")
    files = dict.fromkeys(names, content)
    items = fill(folder / "here", files)
    remote.push(folder / "here", names)
    assert remote.listing(names) == items
    remote.pull(folder / "back", names)
    assert content_of(folder / "back") == files


@pytest.mark.parametrize("name", ["two\nlines", "carriage\rreturn", "nul\0", "line\u2028separator", "\udce9 not UTF-8"])
def test_a_name_that_cannot_travel_is_one_sentence(server, remote, folder, name):
    assert "rename it" in told(server, remote.push, folder, [name])


def test_no_files_are_no_work(remote, folder):
    fill(folder, {"a": b"1"})
    remote.push(folder, [])
    assert remote.listing() == remote.listing([]) == {}
    remote.pull(folder / "back", [])
    assert content_of(folder) == {"a": b"1"}
    remote.push(folder, ["a"])
    remote.delete([])
    assert list(remote.listing()) == ["a"]


def test_only_what_differs_in_content_is_sent(remote, folder, faulty):
    files = {"same": b"1234", "touched": b"1234", "changed": b"1234", "grown": b"1234"}
    fill(folder, files)
    remote.push(folder, files)
    assert len(sent(faulty)) == 4
    faulty.requests.clear()
    os.utime(folder / "touched", (1, 1))
    before = (folder / "changed").stat()
    (folder / "changed").write_bytes(b"5678")
    os.utime(folder / "changed", ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "grown").write_bytes(b"12345")
    assert remote.differing(folder, files) == ["changed", "grown"]
    remote.push(folder, files)
    assert sorted(path.rpartition("/")[2] for path in sent(faulty)) == ["changed", "grown"]
    assert remote.differing(folder, files) == []


def test_what_is_pulled_is_new_whenever_it_was_made(remote, folder, tmp_path):
    fill(folder, {"old": b"1"})
    os.utime(folder / "old", (1e9, 1e9))
    before = time.time()
    remote.push(folder, ["old"])
    remote.pull(tmp_path / "back", ["old"])
    assert (tmp_path / "back" / "old").stat().st_mtime > before - 2


def test_links_are_followed(remote, folder, tmp_path):
    fill(tmp_path / "elsewhere", {"file": b"linked"})
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere" / "file")
    (folder / "linked folder").symlink_to(tmp_path / "elsewhere")
    remote.push(folder, ["link", "linked folder/file"])
    remote.pull(tmp_path / "back", ["link", "linked folder/file"])
    assert content_of(tmp_path / "back") == {"link": b"linked", "linked folder/file": b"linked"}


def test_what_is_missing_there_is_missing_and_no_error(remote, folder, tmp_path):
    fill(folder, {"a": b"1", "b": b"2"})
    remote.push(folder, ["a"])
    assert remote.listing(["a", "b"]) == {"a": Item(1, md5_of(folder / "a"))}
    assert remote.differing(folder, ["b", "a"]) == ["b"]
    remote.pull(tmp_path / "back", ["a", "b"])
    assert content_of(tmp_path / "back") == {"a": b"1"}
    assert (remote / "no/such/folder").listing() == {}


def test_what_is_missing_here_is_an_error(server, remote, folder):
    fill(folder, {"a": b"1"})
    sentence = told(server, remote.push, folder, ["a", "gone"])
    assert sentence.startswith(remote.address) and "gone" in sentence


def test_no_file_is_none_at_all_and_not_all_of_them(remote, folder, tmp_path):
    items = fill(folder, {"a": b"1"})
    remote.push(folder, [])
    assert remote.listing() == {}
    remote.push(folder, ["a"])
    remote.pull(tmp_path / "back", iter([]))
    remote.delete([])
    assert remote.listing([]) == {} and content_of(tmp_path / "back") == {} and remote.listing() == items


def test_small_files_are_read_written_and_deleted(remote):
    assert remote.read("some/record.json") is None
    remote.write("some/record.json", b"{}")
    assert remote.read("some/record.json") == b"{}"
    remote.write("some/record.json", b"")
    assert remote.read("some/record.json") == b""
    remote.write("other", b"1")
    remote.delete(["some/record.json", "never there"])
    assert list(remote.listing()) == ["other"]


def test_a_folder_of_a_folder_is_one(remote):
    (remote / "a").write("b/c", b"1")
    assert (remote / "a/b").read("c") == b"1" and list(remote.listing()) == ["a/b/c"]


def test_progress_is_told_to_the_end(remote, folder, faulty):
    files = {f"{index}": bytes(100_000) for index in range(40)}  # more than are sent at once
    fill(folder, files)
    faulty.slow(200_000)
    told = []
    remote.push(folder, files, lambda fraction, sentence: told.append((fraction, sentence)))
    fractions = [fraction for fraction, _ in told]
    assert len(set(fractions)) > 2 and 0 <= min(fractions) < 1 and fractions[-1] == 1
    assert all(re.fullmatch(r"\d\.\d of \d\.\d MiB", sentence) for _, sentence in told)
    assert told[-1][1] == "3.8 of 3.8 MiB"


def test_large_files_go_there_and_back(server, remote, folder, tmp_path):
    """2 GB, with holes, and in parts, as all above 200 MiB is sent; the middle tells whether they are in order."""
    folder.mkdir()
    size = 2 * 10**9 + 1
    with (folder / "big").open("wb") as file:
        for place in (0, size // 2, size - 5):
            file.seek(place)
            file.write(b"%05d" % (place % 99991))
    try:
        remote.push(folder, ["big"])
        assert remote.differing(folder, ["big"]) == []
    finally:
        (server.root.parent / remote.address.removeprefix("r2:") / "big").unlink(missing_ok=True)


# Faults of the network and the server


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(remote, folder, faulty, tmp_path, status):
    items = fill(folder, {"a": b"1"})
    for call in (
        lambda: remote.push(folder, ["a"]),
        lambda: remote.pull(tmp_path / "back", ["a"]),
        lambda: remote.differing(folder, ["a"]) == [] or pytest.fail("it differs"),
    ):
        faulty.refuse(2, status)
        call()
    assert remote.listing() == items and content_of(tmp_path / "back") == {"a": b"1"}


def test_a_busy_server_in_the_end_is_one_sentence(server, remote, folder, faulty, impatient):
    fill(folder, {"a": b"1"})
    faulty.refuse(10**6, 429)
    assert "cannot be reached" in told(server, remote.push, folder, ["a"])


@pytest.mark.parametrize("direction", ["push", "pull"])
def test_a_connection_that_is_cut_is_made_again(remote, folder, faulty, tmp_path, direction):
    files = {"big": os.urandom(3_000_000), "small": b"1"}
    fill(folder, files)
    if direction == "pull":
        remote.push(folder, files)
    faulty.cut(1, after=1_000_000)
    getattr(remote, direction)({"push": folder, "pull": tmp_path / "back"}[direction], files)
    assert remote.differing(folder, files) == []
    if direction == "pull":
        assert content_of(tmp_path / "back") == files


def test_a_server_that_dies_is_one_sentence_and_the_next_push_goes_on(server, remote, folder, faulty, impatient):
    files = {f"{index:02}": os.urandom(200_000) for index in range(18)}  # 16 are sent at once
    fill(folder, files)
    faulty.slow(400_000)
    arrived = server.root / remote.address.rpartition("/")[2]

    def die(fraction, sentence):
        if list(arrived.glob("[0-9][0-9]")):
            server.stop()

    try:
        assert "cannot be reached" in told(server, remote.push, folder, files, die)
    finally:
        server.start()
    there = set(remote.listing())
    assert there and there != set(files)
    faulty.slow(float("inf"))
    faulty.requests.clear()
    remote.push(folder, files)
    assert {path.rpartition("/")[2] for path in sent(faulty)} == set(files) - there
    assert remote.differing(folder, files) == []


def test_a_wrong_clock_does_not_matter(remote, folder, faulty):
    """The server says what time it is."""
    items = fill(folder, {"a": b"1"})
    faulty.skew(5 * 3600)
    remote.push(folder, ["a"])
    assert remote.listing() == items


def test_a_full_disk_is_one_sentence(server, remote, folder, tmp_path, impatient):
    fill(folder, {"big": os.urandom(3_000_000)})
    remote.push(folder, ["big"])
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "disk")]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk to fill can only be mounted by root")
    try:
        assert "the disk is full" in told(server, remote.pull, tmp_path / "disk", ["big"])
        assert not (tmp_path / "disk" / "big").exists()
    finally:
        subprocess.run(["umount", str(tmp_path / "disk")], check=True)


# Faults of the set-up


def calls(remote: Remote, folder: Path) -> dict:
    return {
        "push": (remote.push, folder, ["a"]),
        "pull": (remote.pull, folder / "back", ["a"]),
        "listing": (remote.listing,),
        "listing of files": (remote.listing, ["a"]),
        "read": (remote.read, "a"),
        "write": (remote.write, "a", b""),
        "delete": (remote.delete, ["a"]),
    }


CALLS = ["push", "pull", "listing", "listing of files", "read", "write", "delete"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("key", KEYS[1:])
def test_wrong_keys_are_one_sentence(server, remote, folder, call, key):
    fill(folder, {"a": b"1"})
    os.environ[key] = "0" * 32
    sentence = told(server, *calls(remote, folder)[call])
    assert sentence.startswith(remote.address) and "refused the keys" in sentence


@pytest.mark.parametrize("call", CALLS)
def test_a_missing_bucket_is_one_sentence(server, folder, call):
    fill(folder, {"a": b"1"})
    sentence = told(server, *calls(Remote("r2:no-such-bucket/folder"), folder)[call])
    assert sentence == "r2:no-such-bucket/folder: there is no such bucket."


def test_what_stays_wrong_is_not_tried_again(server, remote, folder, faulty):
    """A name with a number or a word of an error's in it is no error."""
    fill(folder, {"forbidden 403.bin": b"1", "EOF.bin": b"1"})
    faulty.refuse(1, 503)
    remote.push(folder, ["forbidden 403.bin", "EOF.bin"])
    os.environ["R2_SECRET_ACCESS_KEY"] = "0" * 64
    faulty.requests.clear()
    assert "refused the keys" in told(server, remote.listing)
    assert len(faulty.requests) == 1


def test_no_network_is_one_sentence(server, remote, impatient):
    os.environ["R2_ENDPOINT"] = "http://127.0.0.1:1"
    assert told(server, remote.listing) == f"{remote.address}: it cannot be reached at the moment."


def test_keys_that_are_not_set_are_named(server, remote):
    del os.environ["R2_SECRET_ACCESS_KEY"]
    assert "R2_SECRET_ACCESS_KEY" in told(server, remote.listing)
    for key in [*KEYS[:2], *(name for name in os.environ if name.startswith("RCLONE_CONFIG_R2_"))]:
        del os.environ[key]
    sentence = told(server, remote.listing)
    assert all(key in sentence for key in KEYS)


def test_a_remote_that_rclone_does_not_know_is_one_sentence(server):
    assert "no remote of this name" in told(server, Remote("nowhere:bucket").listing)


def test_a_remote_of_the_users_is_as_good(tmp_path, folder):
    items = fill(folder, {"a": b"1"})
    (tmp_path / "none.conf").write_text(f"[mine]\ntype = alias\nremote = {tmp_path}\n")
    Remote("mine:kept").push(folder, ["a"])
    assert Remote("mine:kept").listing() == items and content_of(tmp_path / "kept") == {"a": b"1"}


@pytest.mark.parametrize(
    "address",
    ["", "bucket", "r2:", ":local:/etc", "r2:a b", "r2:$(touch x)", "r2:a;b", "r2:'", "r2:a/../b", "-r2:a", "r2,x=y:a"],
)
def test_an_address_is_a_name_and_a_path_of_safe_characters(server, address):
    assert "such as r2:my-bucket/" in told(server, Remote, address)
    assert "such as r2:my-bucket/" in told(server, Remote("r2:bucket").__truediv__, "a b")


def test_keys_may_be_in_a_file_and_the_environment_wins(server, remote):
    keys = {name: os.environ.pop(name) for name in server.environment}
    lines = [f'export R2_ACCOUNT_ID="{keys["R2_ACCOUNT_ID"]}"', "# a comment", ""]
    lines += [f"{name}={keys[name]}" for name in ("R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "R2_ENDPOINT")]
    Path(CREDENTIALS).write_text("\n".join(lines))
    assert remote.listing() == {}
    os.environ["R2_SECRET_ACCESS_KEY"] = "wrong" * 8
    assert "refused the keys" in told(server, remote.listing)


def test_rclone_is_found_where_its_environment_is_not_activated(remote, folder):
    """It is beside this Python, which need not be on the PATH; once is enough."""
    fill(folder, {"a": b"1"})
    os.environ["PATH"] = os.defpath
    if shutil.which("rclone"):
        pytest.skip("this machine has an rclone of its own")
    remote.push(folder, ["a"])
    path = os.environ["PATH"]
    assert remote.read("a") == b"1" and os.environ["PATH"] == path
    assert path.split(os.pathsep)[1:] == os.defpath.split(os.pathsep)


# Secrets


def test_no_key_can_be_seen_by_other_users(server, remote, folder, faulty):
    """A command line is for everybody to see; an environment is not."""
    fill(folder, {"big": bytes(1_000_000)})
    faulty.slow(500_000)
    push = threading.Thread(target=remote.push, args=(folder, ["big"]))
    push.start()
    seen = set()
    while push.is_alive():
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it has ended
                seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        time.sleep(0.05)
    push.join()
    assert [line for line in seen if "rclone copy" in line and "--files-from-raw" in line]
    assert not [line for line in seen for key in server.secrets if key in line]
