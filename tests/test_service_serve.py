"""The real service: the real models in real processes, real signals."""

import importlib
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import jsonschema
import numpy as np
import pytest
import requests
from serving import PERSON, Service, asked, none_is_left, person, plain, service

from pose_factory.geometry.joint_angles import SEGMENTS
from pose_factory.service.app import OPENAPI
from pose_factory.skeleton import JOINTS
from workflow import REPOSITORY


@pytest.fixture(scope="module")
def running() -> Service:
    """A service that is ready, for all tests that leave it as it is."""
    with service() as started:
        started.wait_until_ready()
        yield started


@pytest.fixture(scope="module")
def documented() -> dict:
    return json.loads(OPENAPI.read_text())


def check(content: dict, name: str, documented: dict) -> None:
    """It is what the document says of `name`, and has no field that the document has not."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": documented["components"]}
    jsonschema.Draft202012Validator(schema).validate(shortened(content))
    assert content.keys() <= documented["components"]["schemas"][name]["properties"].keys()


def shortened(content):
    """With the first entries of long lists only: all points of a mesh would take seconds to check."""
    if isinstance(content, dict):
        return {key: shortened(value) for key, value in content.items()}
    return [shortened(value) for value in content[:30]] if isinstance(content, list) else content


def film(path: Path, images: list[np.ndarray]) -> bytes:
    """A film of images (H, W, 3)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.height, stream.width = images[0].shape[:2]
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    return path.read_bytes()


# What it answers


def test_a_person_is_answered_as_documented(running, documented):
    reply = running.post("/pose/hybrid", json=asked(person(), 0, session_id="a", visualize=True))
    assert reply.status_code == 200
    content = reply.json()
    check(content, "PoseAnswer", documented)
    assert content["source"] == "detected" and content["track_id"] is not None and content["error"] is None
    assert [point["name"] for point in content["keypoints"]] == JOINTS
    width, height = PERSON[2] - PERSON[0], PERSON[3] - PERSON[1]
    assert (content["frame_width"], content["frame_height"]) == (width, height)
    assert all(0 < point["x"] < width and 0 < point["y"] < height for point in content["keypoints"])
    assert content["joint_angles_3d"].keys() == SEGMENTS.keys()
    assert len(content["joints_3d_raw"]) == content["keypoint_count"] == len(JOINTS)
    assert len(content["mesh_vertices_data"]) == content["mesh_vertices"] > 1000
    assert np.max(content["mesh_faces_data"]) < content["mesh_vertices"]
    assert content["visualization"].startswith("/9j/")  # a JPEG


def test_the_body_falls_on_the_picture(running):
    """Its joints, moved by camera_translation and projected with focal_length, are near the keypoints."""
    content = running.post("/pose/hybrid", json=asked(person(), 0, session_id="b")).json()
    points = np.array(content["joints_3d_raw"]) + content["camera_translation"]
    pixels = content["focal_length"] * points[:, :2] / points[:, 2:] + [
        content["frame_width"] / 2,
        content["frame_height"] / 2,
    ]
    seen = np.array([[point["x"], point["y"]] for point in content["keypoints"]])
    assert np.median(np.linalg.norm(pixels - seen, axis=1)) < 0.05 * (PERSON[3] - PERSON[1])


def test_the_documents_commands_work(running, tmp_path):
    """Sent by curl, which knows nothing of us."""
    if not shutil.which("curl"):
        pytest.skip("there is no curl")
    (tmp_path / "person.jpg").write_bytes(person() + bytes(200_000))  # longer than a word of a command may be
    (tmp_path / "dance.mp4").write_bytes(b"no film")
    blocks = re.findall(r"```sh\n(.*?)```", (REPOSITORY / "docs" / "service.md").read_text(), re.DOTALL)
    frame, film = (block for block in blocks if "curl" in block)
    for command, key in ((frame, "keypoints"), (film.splitlines()[0], "job_id")):
        command = command.replace("http://127.0.0.1:5000", running.url)
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)[key]


def test_pose_is_the_same_without_a_body(running, documented):
    content = running.post("/pose", json=asked(person(), 0, session_id="c")).json()
    check(content, "PoseAnswer", documented)
    assert not content["has_3d"] and content["keypoint_count"] >= 21
    assert content["joints_3d_raw"] == content["mesh_vertices_data"] == content["mesh_faces_data"] == []


def test_nobody_is_no_error(running, documented):
    content = running.post("/pose/hybrid", json=asked(plain(), 0, session_id="d")).json()
    check(content, "PoseAnswer", documented)
    assert (content["keypoints"], content["source"], content["tracking_confidence"]) == ([], None, 0.0)
    assert content["error"] is None and not content["has_3d"]


def test_a_batch_is_what_the_frames_are_one_by_one(running, documented):
    files = [person()] * 6 + [plain(*PERSON[2:]), b"no image", person()]
    frames = [asked(file, number) for number, file in enumerate(files)]
    alone = [running.post("/pose", json=frame | {"session_id": "e"}) for frame in frames]
    assert [reply.status_code for reply in alone] == [200] * 7 + [400, 200]
    batch = running.post("/pose/batch", json={"frames": frames, "session_id": "f"}).json()
    check(batch, "BatchAnswer", documented)
    assert (batch["frame_count"], batch["error_count"]) == (9, 1)
    sources = [frame.get("source") for frame in batch["frames"]]
    assert sources == ["detected"] * 6 + ["predicted", None, "detected"]
    for together, reply in zip(batch["frames"], alone, strict=True):
        assert together["frame_number"] == reply.json()["frame_number"]
        assert together["error"] == reply.json()["error"]
        if together["error"] is None:
            given = {point["name"]: point for point in together["keypoints"]}
            assert [given[point["name"]] for point in reply.json()["keypoints"]] == reply.json()["keypoints"]


def test_a_film_is_tracked_and_a_broken_one_says_so(running, documented, tmp_path):
    """While frames are answered all the same."""
    image = np.array(decoded(person()))
    sent = running.post("/pose/video", files={"video": film(tmp_path / "film.mp4", [image] * 6)})
    broken = running.post("/pose/video", files={"video": b"this is no film"})
    assert sent.status_code == broken.status_code == 202
    ended = {}
    until = time.monotonic() + 120
    while len(ended) < 2 and time.monotonic() < until:
        assert running.post("/pose", json=asked(plain(), 0, session_id="g")).status_code == 200
        for reply in (sent, broken):
            job = running.get(reply.json()["status_url"]).json()
            check(job, "Job", documented)
            if job["status"] in ("done", "failed"):
                ended[reply] = job
        time.sleep(0.2)
    assert (ended[sent]["status"], ended[sent]["progress"], ended[sent]["error"]) == ("done", 1.0, None)
    result = running.get(ended[sent]["result_url"]).json()
    check(result, "Film", documented)
    assert result["frame_count"] == len(result["answers"]) == 6
    assert result["coverage"] == 1.0
    assert [answer["frame_number"] for answer in result["answers"]] == list(range(6))
    assert all(answer["has_3d"] for answer in result["answers"])
    assert ended[broken]["status"] == "failed"
    assert re.fullmatch(r"[^/\n]+\.", ended[broken]["error"])  # one sentence, and no path of ours


def decoded(file: bytes):
    from pose_factory.service.images import decode

    return decode(file)


def test_health_answers_while_frames_wait(running, documented):
    with ThreadPoolExecutor(8) as pool:
        replies = [
            pool.submit(running.post, "/pose/hybrid", json=asked(person(), number, session_id=f"h{number % 4}"))
            for number in range(16)
        ]
        busy = []
        while not all(reply.done() for reply in replies):
            content = running.get("/health").json()
            check(content, "Health", documented)
            busy.append(content["queue_length"] + content["running"])
        assert [reply.result().status_code for reply in replies] == [200] * 16
    assert max(busy) >= 4  # it was asked while they waited
    text = running.get("/metrics").text
    assert 'pose_service_frames_total{source="detected"}' in text
    assert re.search(r'pose_service_stage_seconds_count\{stage="detect"\} [1-9]', text)


def test_the_log_has_a_line_for_each_frame_and_no_picture(running):
    before = len(running.log())
    content = asked(person(), 0, session_id="i")
    running.post("/pose/hybrid", json=content)
    frame, request = (line for line in running.log()[before:] if line["event"] in ("frame", "request"))
    assert (frame["session_id"], frame["source"], frame["status"]) == ("i", "detected", 200)
    assert 0 < frame["tracking_confidence"] <= 1 and frame["ms"]["detect"] > 0
    assert (request["route"], request["status"]) == ("POST /pose/hybrid", 200)
    assert content["image_base64"][:60] not in running.log_file.read_text()


# Its beginning and its end


def test_it_begins_at_once_fills_its_queue_and_ends_when_all_is_answered():
    """While the model loads, health says so and requests wait, up to the bound. Told to end, it answers them, and turns
    away whoever comes."""
    with service(POSE_SERVICE_QUEUE="6", POSE_SERVICE_TIMEOUT="120") as started, ThreadPoolExecutor(8) as pool:
        health = started.get("/health").json()
        assert (health["status"], health["ready"], health["device"]) == ("warming_up", False, None)
        replies = [pool.submit(started.post, "/pose/hybrid", json=asked(person(), number)) for number in range(6)]
        while started.get("/health").json()["queue_length"] < 6:
            time.sleep(0.02)
        refused = started.post("/pose/hybrid", json=asked(person(), 6))
        assert (refused.status_code, refused.json()["frame_number"]) == (503, 6)
        assert int(refused.headers["Retry-After"]) > 0
        started.process.send_signal(signal.SIGTERM)
        while (health := started.get("/health").json())["status"] != "not_ready":
            time.sleep(0.02)
        assert health["queue_length"] + health["running"] == 6
        refused = started.post("/pose/hybrid", json=asked(person(), 7))
        assert refused.status_code == 503 and "shutting down" in refused.json()["error"]
        assert int(refused.headers["Retry-After"]) > 0
        assert [reply.result().status_code for reply in replies] == [200] * 6
        assert started.process.wait(120) == 0
        assert none_is_left(started)
        assert "Traceback" not in started.log_file.read_text()


def test_a_second_signal_ends_it_at_once():
    with service() as started, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(started.post, "/pose/hybrid", json=asked(person()))
        while not started.get("/health").json()["queue_length"]:
            time.sleep(0.02)
        started.process.send_signal(signal.SIGINT)
        while started.get("/health").json()["status"] != "not_ready":
            time.sleep(0.02)
        assert started.stop(signal.SIGINT) == 128 + signal.SIGINT
        assert isinstance(waiting.exception(), requests.ConnectionError)
        assert none_is_left(started)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pose_factory.service", *arguments]
    variables = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "src"} | environment
    return subprocess.run(
        command, env=variables, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_port_in_use_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", POSE_SERVICE_PORT=str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        rf"Error: Cannot listen on 127\.0\.0\.1, port {port}: Address already in use; .*\.\n", done.stderr
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("POSE_SERVICE_PORT", "many"), ("POSE_SERVICE_HOST", "no such host"), ("POSE_SERVICE_HOST", "203.0.113.77")],
)
def test_what_cannot_be_is_one_sentence(name, value):
    done = run("serve", **{"POSE_SERVICE_PORT": "0", name: value})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1 and value in done.stderr


def test_without_a_command_it_says_what_there_is():
    done = run()
    assert done.returncode == 2 and "serve" in done.stderr


def test_open_to_all_without_a_token_is_warned_of():
    misspelt = {"POSE_SERVICE_TOKKEN": "x"}
    with service(POSE_SERVICE_HOST="0.0.0.0", **misspelt) as started:
        told = [line["message"] for line in started.log() if line["level"] == "warning"]
        assert len(told) == 2
        assert "POSE_SERVICE_TOKKEN is no setting" in told[0] and "set POSE_SERVICE_TOKEN" in told[1]
    with service(POSE_SERVICE_HOST="0.0.0.0", POSE_SERVICE_TOKEN="hush-hush") as started:
        assert requests.get(f"http://127.0.0.1:{started.port}/metrics").status_code == 401
        assert [line for line in started.log() if line["level"] == "warning"] == []
        assert "hush" not in started.log_file.read_text()


# How it is started


def test_the_command_is_what_the_package_installs():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["pose-factory"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_make_serve_starts_it():
    command = ["make", "--no-print-directory", "--dry-run", "serve"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].endswith("python -m pose_factory.service serve")


@pytest.fixture
def unit(tmp_path) -> Path:
    """The systemd unit, with an installation that is here."""
    text = (REPOSITORY / "deploy" / "pose-factory.service").read_text()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    path = tmp_path / "pose-factory.service"
    path.write_text(text.replace("/opt/pose-factory", str(tmp_path)))
    return path


def test_systemd_understands_the_unit(unit):
    try:
        done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no systemd-analyze")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_runs_the_command_and_gives_it_time_to_finish(unit):
    settings = dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line and line[0] != "#")
    words = settings["ExecStart"].split()
    assert words[1:] == ["-m", "pose_factory.service", "serve"] and Path(words[0]).exists()
    assert settings["KillMode"] == "mixed"
    assert int(settings["TimeoutStopSec"]) > 30 + 5
    assert settings["DynamicUser"] == settings["NoNewPrivileges"] == "yes" and settings["ProtectSystem"] == "strict"
