"""Films sent to the service, and what becomes of them, with an engine of paper."""

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from serving import PaperEngine, paper_service

from pose_factory.errors import PoseFactoryError
from pose_factory.service import Full
from pose_factory.service import server as serverside
from pose_factory.service.jobs import Jobs

FILM = b"a film" * 100_000


@pytest.fixture
def engine() -> PaperEngine:
    return PaperEngine()


@pytest.fixture
def url(engine) -> str:
    with paper_service(engine, max_jobs=3) as (url, _):
        yield url


def send(url: str, film: bytes = FILM, name: str = "video") -> requests.Response:
    return requests.post(url + "/pose/video", files={name: ("holiday.mp4", film)})


def test_a_film_from_its_sending_to_its_result(url, engine):
    sent = send(url)
    assert sent.status_code == 202
    status_url = sent.json()["status_url"]
    assert sent.headers["Location"] == status_url
    assert status_url == f"/jobs/{sent.json()['job_id']}" and len(sent.json()["job_id"]) >= 22

    def job() -> dict:
        return requests.get(url + status_url).json()

    ((path, progress, future),) = engine.films
    assert path.read_bytes() == FILM
    assert list(path.parent.iterdir()) == [path]
    unknown = {"frames_done": 0, "frames": None, "result_url": None, "error": None}
    assert job() == {"job_id": sent.json()["job_id"], "status": "queued", "progress": 0.0} | unknown
    progress(0, None)
    assert (job()["status"], job()["progress"]) == ("running", 0.0)
    progress(30, 120)
    assert (job()["progress"], job()["frames_done"], job()["frames"]) == (0.25, 30, 120)
    assert requests.get(url + status_url + "/result").status_code == 404
    future.set_result(b'{"frame_count":120}')
    assert (job()["status"], job()["progress"], job()["error"]) == ("done", 1.0, None)
    result = requests.get(url + job()["result_url"])
    assert (result.status_code, result.headers["Content-Type"], result.json()) == (
        200,
        "application/json",
        {"frame_count": 120},
    )
    assert not path.exists()
    assert requests.delete(url + status_url).status_code == 204
    assert requests.get(url + status_url).status_code == requests.delete(url + status_url).status_code == 404
    assert list(path.parent.iterdir()) == []


def test_a_film_that_fails_says_why(url, engine):
    status_url = send(url).json()["status_url"]
    ((path, _, future),) = engine.films
    future.set_exception(PoseFactoryError("The film has no pictures; send another."))
    job = requests.get(url + status_url)
    assert job.status_code == 200
    assert (job.json()["status"], job.json()["error"]) == ("failed", "The film has no pictures; send another.")
    assert job.json()["result_url"] is None
    assert requests.get(url + status_url + "/result").status_code == 404
    assert not path.exists()


def test_a_film_is_given_up_when_it_is_deleted(url, engine):
    status_url = send(url).json()["status_url"]
    ((path, _, future),) = engine.films
    assert requests.delete(url + status_url).status_code == 204
    assert engine.stopped == [future]
    assert list(path.parent.iterdir()) == []


def test_there_are_so_many_films_and_no_more(url, engine):
    sent = [send(url).json()["status_url"] for _ in range(3)]
    refused = send(url)
    assert refused.status_code == 503 and int(refused.headers["Retry-After"]) > 0
    assert refused.json()["frame_number"] is None
    engine.films[1][2].set_result(b"{}")
    sent.append(send(url).json()["status_url"])  # in the place of the one that ended
    assert [requests.get(url + path).status_code for path in sent] == [200, 404, 200, 200]
    assert len(list(engine.films[0][0].parent.iterdir())) == 3


def test_more_films_than_there_are_places_are_refused_as_they_come(engine, monkeypatch):
    """Before their bodies are there; a place is free again when a client has left, or its film is taken in."""
    monkeypatch.setattr(serverside, "UPLOADS", 2)
    head = b"POST /pose/video HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    with paper_service(engine) as (url, server):
        host, _, port = url.removeprefix("http://").partition(":")

        def begin(line: bytes, part: bytes = b"") -> socket.socket:
            connection = socket.create_connection((host, int(port)), timeout=20)
            connection.sendall(head + line + b"\r\n\r\n" + part)
            return connection

        def wait_until_free(places: int) -> None:
            until = time.monotonic() + 20
            while server.places["/pose/video"]._value != places:
                assert time.monotonic() < until
                time.sleep(0.01)

        chunk = b"80000\r\n" + bytes(0x80000) + b"\r\n"
        coming = [begin(b"Content-Length: 9000000"), begin(b"Transfer-Encoding: chunked", chunk)]
        wait_until_free(0)
        with begin(b"Content-Length: 9000000") as third:
            answer = third.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: " in answer
        assert send(url).status_code == 503
        assert requests.get(url + "/health").status_code == 200
        coming[0].close()
        wait_until_free(1)
        assert send(url).status_code == send(url).status_code == 202
        coming[1].close()
        wait_until_free(2)


def test_what_is_no_film(url, engine):
    for reply in (
        send(url, b""),
        send(url, name="film"),
        requests.post(url + "/pose/video", data=b"", headers={"Content-Type": "multipart/form-data; boundary=x"}),
        requests.post(url + "/pose/video", data=b"x", headers={"Content-Type": "multipart/form-data"}),
        requests.post(url + "/pose/video", files={"video": (None, "text, not a file")}),
        requests.post(url + "/pose/video", files={"a": (None, "x" * 1_000_000)}),
    ):
        assert reply.status_code == 400, reply.text
        assert reply.json().keys() == {"frame_number", "error"}
    assert engine.films == []


def test_a_film_may_be_as_large_as_is_allowed(engine):
    with paper_service(engine, max_video_bytes=len(FILM)) as (url, _):
        assert send(url).status_code == 202
        assert send(url, FILM + b"x").status_code == 400
        assert send(url, FILM * 2).status_code == 400
        assert len(list(engine.films[0][0].parent.iterdir())) == 1


def test_a_film_that_comes_too_late_leaves_nothing(engine, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    engine.closing = True
    with paper_service(engine) as (url, _):
        assert send(url).status_code == 503
        (folder,) = tmp_path.iterdir()
        assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


# In themselves


@pytest.fixture
def upload(tmp_path) -> Path:
    path = tmp_path / "upload"
    path.write_bytes(FILM)
    return path


def test_results_are_kept_for_a_while(engine, upload):
    jobs = Jobs(engine, 5, 0.2)
    job = jobs.add(upload)
    running = jobs.add(upload)
    engine.films[0][2].set_result(b"{}")
    assert jobs.find(job.id) is job and job.result.exists()
    until = time.monotonic() + 10
    while jobs.count() > 1 and time.monotonic() < until:
        time.sleep(0.02)  # without anybody asking for it
    assert jobs.find(job.id) is None and not job.result.exists()
    assert jobs.find(running.id) is running
    jobs.close()


def test_nothing_is_forgotten_while_there_is_room(engine, upload):
    jobs = Jobs(engine, 8, 60)
    for number in range(12):
        job = jobs.add(upload)
        engine.films[-1][2].set_result(b"{}")
        assert jobs.count() == min(number + 1, 8) and jobs.find(job.id).result.exists()
    jobs.close()


def test_in_the_end_nothing_is_left(engine, upload):
    jobs = Jobs(engine, 5, 60)
    running, done = jobs.add(upload), jobs.add(upload)
    engine.films[1][2].set_result(b"{}")
    assert done.result.exists() and running.film.exists()
    jobs.close()
    assert engine.stopped == [engine.films[0][2]]
    assert not Path(jobs.folder).exists()
    assert upload.exists()


def test_a_film_that_the_engine_refuses_leaves_nothing(engine, upload):
    jobs = Jobs(engine, 5, 60)
    engine.full = True
    with pytest.raises(Full):
        jobs.add(upload)
    assert list(Path(jobs.folder).iterdir()) == [] and jobs.count() == 0
    jobs.close()


def test_a_result_that_cannot_be_written_is_a_failure(engine, upload):
    jobs = Jobs(engine, 5, 60)
    job = jobs.add(upload)
    os.mkdir(job.result)
    engine.films[0][2].set_result(b"{}")
    assert job.status == "failed" and "Is a directory" in job.error
    os.rmdir(job.result)
    jobs.close()


def test_ids_are_not_to_be_guessed(engine, upload):
    jobs = Jobs(engine, 300, 60)
    with ThreadPoolExecutor(8) as pool:
        names = {job.id for job in pool.map(lambda _: jobs.add(upload), range(200))}
    assert len(names) == 200
    assert len({name[:6] for name in names}) == 200
    jobs.close()
