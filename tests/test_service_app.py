"""The service's HTTP side, over real connections, with an engine of paper behind it."""

import base64
import json
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
import requests
from serving import PaperEngine, asked, encoded, paper_service, plain

from pose_factory.service import Answer, Stats, gate
from pose_factory.service import server as serverside
from pose_factory.service.settings import Settings

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def engine() -> PaperEngine:
    return PaperEngine()


@pytest.fixture
def url(engine) -> str:
    with paper_service(engine) as (url, _):
        yield url


def check_error(reply: requests.Response, status: int, frame_number: int | None = None) -> str:
    """Its sentence, once it has the form that every error has."""
    assert reply.status_code == status, reply.text
    assert reply.headers["Content-Type"] == "application/json"
    content = reply.json()
    assert content.keys() == {"frame_number", "error"}
    assert content["frame_number"] == frame_number
    assert content["error"].endswith(".") and "\n" not in content["error"] and len(content["error"]) < 300
    return content["error"]


# Frames


def test_a_frame_goes_to_the_engine_as_it_was_meant(url, engine):
    file = plain()
    more = {"session_id": "a/b ü", "visualize": True, "fps": 25, "of_tomorrow": [1]}
    reply = requests.post(url + "/pose/hybrid", json=asked(file, 7, **more))
    assert (reply.status_code, reply.json()) == (200, {"frame_number": 7, "error": None})
    (request,) = engine.requests
    assert (request.image, request.frame_number, request.session_id) == (file, 7, "a/b ü")
    assert (request.body, request.visualize, request.fps) == (True, True, 25.0)


def test_an_old_client_sends_three_fields(url, engine):
    prefix = "data:image/jpeg;base64,"
    old = {"image_base64": prefix + base64.b64encode(plain()).decode(), "frame_number": 0, "visualize": False}
    assert requests.post(url + "/pose/hybrid", json=old).status_code == 200
    (request,) = engine.requests
    assert (request.image, request.session_id, request.visualize) == (plain(), "default", False)


def test_pose_does_without_the_body(url, engine):
    assert requests.post(url + "/pose", json=asked(plain())).status_code == 200
    assert not engine.requests[0].body


def test_null_is_left_out_and_a_whole_float_is_whole(url, engine):
    content = asked(plain(), 3.0, session_id=None, visualize=None, fps=None)
    assert requests.post(url + "/pose/hybrid", json=content).status_code == 200
    assert engine.requests[0].frame_number == 3


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"image_base64": None}, "image_base64 is missing"),
        ({"image_base64": 3}, "image_base64 is 3, but"),
        ({"image_base64": ["a"]}, "image_base64 is a list"),
        ({"image_base64": "%%%"}, "not base64"),
        ({"image_base64": ""}, "empty"),
        ({"image_base64": base64.b64encode(b"GIF89a").decode()}, "not an image"),
        ({"visualize": 1}, "visualize is 1, but"),
        ({"visualize": "yes"}, "visualize is text"),
        ({"session_id": 5}, "session_id is 5"),
        ({"session_id": ""}, "session_id is text of 0"),
        ({"session_id": "x" * 129}, "session_id is text of 129"),
        ({"fps": 0}, "fps is 0"),
        ({"fps": True}, "fps is true or false"),
        ({"fps": 1e9}, "fps is 1000000000"),
    ],
)
def test_a_wrong_field_is_one_sentence_that_names_it(wrong, says, url, engine):
    reply = requests.post(url + "/pose/hybrid", json=asked(plain(), 12) | wrong)
    assert says in check_error(reply, 400, 12)
    assert engine.requests == []


@pytest.mark.parametrize("number", [None, "0", True, -1, 0.5, 2**53, 10**30, [], {}, "x" * 1000])
def test_a_wrong_frame_number_is_one_sentence(number, url):
    reply = requests.post(url + "/pose/hybrid", json=asked(plain(), number))
    assert check_error(reply, 400).startswith("frame_number is")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"3",
        b"\xff\xfe",
        b'{"frame_number": NaN}',
        b'{"frame_number": Infinity}',
        b'{"frame_number": 1' + b"0" * 400 + b"}",
        b'{"image_base64": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b"{} {}",
    ],
)
def test_a_body_that_is_no_json_object_is_one_sentence(body, url):
    assert check_error(requests.post(url + "/pose/hybrid", data=body, headers=JSON), 400).startswith("The body is")


def test_other_content_types(url):
    body = json.dumps(asked(plain()))
    for kind in ("text/plain", "application/x-www-form-urlencoded", "image/jpeg", "", "application/json;"):
        reply = requests.post(url + "/pose/hybrid", data=body, headers={"Content-Type": kind})
        if kind.startswith("application/json"):
            assert reply.status_code == 200
        else:
            check_error(reply, 415)
    check_error(requests.post(url + "/pose/video", json={}), 415)


def test_what_the_engine_answers_is_passed_on(url, engine):
    def answer(request):
        future = Future()
        body = b'{"frame_number":5,"error":"It failed."}'
        future.set_result(Answer(request.frame_number, body, Stats()))
        return future

    engine.answers = answer
    for status in (400, 500, 503, 504):
        reply = requests.post(url + "/pose/hybrid", json=asked(plain(), status))
        assert check_error(reply, status, 5) == "It failed."
        assert ("Retry-After" in reply.headers) == (status == 503)


def test_no_room_and_closing(url, engine):
    engine.full = True
    reply = requests.post(url + "/pose/hybrid", json=asked(plain(), 4))
    check_error(reply, 503, 4)
    assert reply.headers["Retry-After"] == "3"
    engine.full, engine.closing = False, True
    reply = requests.post(url + "/pose/hybrid", json=asked(plain(), 4))
    check_error(reply, 503, 4)
    assert int(reply.headers["Retry-After"]) > 0


def test_a_fault_of_our_own_is_told_without_its_inside(url, engine, caplog):
    def fail(_):
        raise ZeroDivisionError("inside knowledge")

    engine.answers = fail
    sentence = check_error(requests.post(url + "/pose/hybrid", json=asked(plain(), 4)), 500, 4)
    assert "inside" not in sentence
    assert "inside knowledge" in caplog.text
    engine.answers = None
    assert requests.post(url + "/pose/hybrid", json=asked(plain())).status_code == 200


# Batches


def test_a_batch_is_answered_in_order_and_each_frame_has_its_own_error(url, engine):
    frames = [asked(plain(), 0), {"frame_number": 1}, "no object", asked(b"no image", 3), asked(plain(), 4, fps=12)]
    reply = requests.post(url + "/pose/batch", json={"frames": frames, "session_id": "s", "fps": 10})
    assert reply.status_code == 200
    content = reply.json()
    assert [frame["frame_number"] for frame in content["frames"]] == [0, 1, None, 3, 4]
    assert [frame["error"] is None for frame in content["frames"]] == [True, False, False, False, True]
    assert (content["frame_count"], content["error_count"], content["error"]) == (5, 3, None)
    assert [(request.frame_number, request.session_id, request.fps) for request in engine.requests] == [
        (0, "s", 10),
        (4, "s", 12),
    ]


@pytest.mark.parametrize(
    "batch",
    [{}, {"frames": []}, {"frames": {}}, {"frames": None}, {"frames": [{}], "session_id": 3}, {"frames": [{}] * 65}],
)
def test_what_is_no_batch(batch, url):
    check_error(requests.post(url + "/pose/batch", json=batch), 400)


def test_a_batch_that_cannot_begin_is_refused(url, engine):
    engine.full = True
    check_error(requests.post(url + "/pose/batch", json={"frames": [asked(plain())]}), 503)


def test_a_batch_in_which_the_queue_fills_up_goes_on(url, engine):
    first, ordinary = plain(), engine.submit

    def submit(request):
        engine.full = request.frame_number == 1
        return ordinary(request)

    engine.submit = submit
    reply = requests.post(url + "/pose/batch", json={"frames": [asked(first, number) for number in range(3)]})
    assert [frame["error"] for frame in reply.json()["frames"]] == [
        None,
        "There are 64 requests waiting already.",
        None,
    ]


# Tokens


def test_a_token_is_asked_for(engine):
    with paper_service(engine, token="hush-hush") as (url, _):
        for headers in (
            {},
            {"Authorization": "Bearer hush-hus"},
            {"Authorization": "Basic hush-hush"},
            {"Authorization": "ü"},
        ):
            headers = {key: value.encode() for key, value in headers.items()}
            for method, path in [
                ("POST", "/pose/hybrid"),
                ("GET", "/metrics"),
                ("GET", "/jobs/x"),
                ("GET", "/nowhere"),
            ]:
                reply = requests.request(method, url + path, headers=headers, data=b"")
                assert "hush" not in check_error(reply, 401)
                assert reply.headers["WWW-Authenticate"] == "Bearer"
        right = {"Authorization": "bearer hush-hush"}
        assert requests.post(url + "/pose/hybrid", json=asked(plain()), headers=right).status_code == 200
        assert requests.get(url + "/metrics", headers=right).status_code == 200
        for path in ("/health", "/", "/page.js", "/openapi.json"):
            assert requests.get(url + path).status_code == 200


def test_without_the_token_no_body_is_taken_in(engine):
    """It is refused by its head, also where the client waits to be told to go on; what is sent all the same is thrown
    away, so that the client gets to see why."""
    head = b"POST /pose/video HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    with paper_service(engine, token="hush-hush") as (url, server):
        for line in (
            b"Content-Length: 99000000\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Expect: 100-continue\r\nContent-Length: 99000000\r\n",
        ):
            assert exchange(url, head + line + b"\r\n").startswith(b"HTTP/1.1 401 ")
        check_error(requests.post(url + "/pose/video", data=bytes(50_000_000)), 401)
        check_error(requests.post(url + "//pose/hybrid", data=bytes(1_000_000)), 401)
        reply = requests.head(url + "/metrics")
        assert (reply.status_code, reply.content) == (401, b"")
        assert not server.is_busy()


def test_what_follows_a_refusal_is_no_request(engine):
    """Neither the body of what was refused nor what comes after it."""
    request = b"POST /pose/hybrid HTTP/1.1\r\nContent-Length: 9\r\n\r\n"
    right = b"GET /metrics HTTP/1.1\r\nAuthorization: Bearer hush-hush\r\n\r\n"
    with paper_service(engine, token="hush-hush") as (url, _):
        assert exchange(url, request + right, right, pause=0.1).count(b"HTTP/1.1 ") == 1


# Browsers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:5000", 200),
        ("localhost:5000", 200),
        ("LocalHost", 200),
        ("127.1.2.3", 200),
        ("[::1]:5000", 200),
        ("evil.example", 403),
        ("evil.example:5000", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("127.0.0.1, evil.example", 403),
        ("localhost@evil.example", 403),
        ("192.168.0.1", 403),
        ("[::2]", 403),
        ("[", 403),
    ],
)
def test_on_loopback_it_has_no_other_name(host, status, url):
    """So that a site that has its name resolved to this machine gets nothing."""
    for path in ("/health", "/", "/metrics"):
        reply = requests.get(url + path, headers={"Host": host})
        if status == 403:
            check_error(reply, 403)
        else:
            assert reply.status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:5000", "Origin": "http://localhost:5000", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:5000", "Origin": "http://localhost:3000"}, 403),
        ({"Host": "localhost:5000", "Origin": "http://localhost"}, 403),
    ],
)
def test_pages_of_other_sites_get_nothing_done(headers, status, url, engine):
    reply = requests.post(url + "/pose/hybrid", json=asked(plain()), headers=headers)
    if status == 200:
        assert reply.status_code == 200
    else:
        check_error(reply, 403)
        check_error(requests.delete(url + "/jobs/x", headers=headers), 403)
        check_error(requests.post(url + "/pose/video", files={"video": bytes(1_000_000)}, headers=headers), 403)
    assert len(engine.requests) == (status == 200)


def test_a_link_from_another_site_leads_to_the_page(url):
    assert requests.get(url, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_with_a_token_names_and_origins_do_not_matter(engine):
    """For a browser sends it only if the page has it; and a proxy gives the service its own name."""
    headers = {"Authorization": "Bearer hush-hush", "Host": "poses.example", "Origin": "https://other.example"}
    with paper_service(engine, token="hush-hush") as (url, _):
        assert requests.post(url + "/pose/hybrid", json=asked(plain()), headers=headers).status_code == 200
        assert requests.get(url, headers={"Host": "poses.example"}).status_code == 200


def test_on_other_addresses_it_may_have_any_name():
    """Names that nobody here knows; and on loopback the one that it was given."""
    settings = Settings.from_environment({"POSE_SERVICE_HOST": "Poses.example"})
    gate.check(settings, False, "GET", "/", {"HOST": "elsewhere.example"})
    gate.check(settings, True, "GET", "/", {"HOST": "poses.example:5000"})
    with pytest.raises(gate.Refused):
        gate.check(settings, True, "GET", "/", {"HOST": "elsewhere.example"})


# Addresses


@pytest.mark.parametrize(
    "path", ["/nowhere", "/pose/", "/pose/hybrid/", "/../app.py", "/page/index.html", "/index.html"]
)
def test_an_address_that_is_none(path, url):
    session = requests.Session()
    prepared = session.prepare_request(requests.Request("GET", url))
    prepared.url = url + path  # as it is, dots and all
    check_error(session.send(prepared, allow_redirects=False), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/pose/hybrid", "POST"),
        ("POST", "/health", "GET, HEAD"),
        ("OPTIONS", "/pose", "POST"),
        ("PUT", "/jobs/x", ""),
    ],
)
def test_a_method_that_is_not_there(method, path, allowed, url):
    reply = requests.request(method, url + path)
    check_error(reply, 405)
    assert set(allowed.split(", ")) <= set(reply.headers["Allow"].split(", ")) | {""}


def test_the_page_is_served_with_its_types_and_nothing_from_elsewhere(url):
    kinds = {"/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css", "/icon.svg": "image/svg+xml"}
    for path, kind in kinds.items():
        reply = requests.get(url + path)
        assert reply.status_code == 200
        assert reply.headers["Content-Type"].startswith(kind)
        policy = dict(part.split(" ", 1) for part in reply.headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Cache-Control"] == "no-cache"
    assert requests.get(url + "/health").headers["Cache-Control"] == "no-store"


# Sizes


def test_bodies_are_taken_up_to_the_limit_and_not_beyond(engine):
    noise = encoded(np.random.default_rng(0).integers(0, 255, (100, 100, 3), np.uint8), "png")
    with paper_service(engine, max_image_bytes=len(noise)) as (url, _):
        assert requests.post(url + "/pose/hybrid", json=asked(noise)).status_code == 200
        check_error(requests.post(url + "/pose/hybrid", json=asked(noise + b"x", 3)), 400, 3)
        sentence = check_error(requests.post(url + "/pose/hybrid", json=asked(noise * 10, 3)), 400)
        assert "larger than" in sentence
        chunks = (bytes(10_000) for _ in range(50))
        check_error(requests.post(url + "/pose/hybrid", data=chunks, headers=JSON), 400)
        check_error(requests.get(url + "/health", data=bytes(500_000)), 400)


def test_many_pixels_in_few_bytes(engine):
    with paper_service(engine, max_pixels=1000) as (url, _):
        check_error(requests.post(url + "/pose/hybrid", json=asked(plain(32, 32), 3)), 400, 3)


def exchange(url: str, *parts: bytes, pause: float = 0.0) -> bytes:
    """All that comes back to bytes that are sent as they are."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        received = b""
        while data := connection.recv(65_536):
            received += data
        return received


def test_what_is_announced_as_huge_is_refused_before_it_comes(url):
    head = b"POST /pose/hybrid HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for line in (b"Content-Length: 99999999999\r\n", b"Expect: 100-continue\r\nContent-Length: 50000000\r\n"):
        status, _, rest = exchange(url, head + line + b"\r\n").partition(b"\r\n")
        assert status.startswith(b"HTTP/1.1 400 ")
        assert json.loads(rest.partition(b"\r\n\r\n")[2])["frame_number"] is None


def test_whoever_waits_to_be_told_to_go_on_is_told(url):
    body = json.dumps(asked(plain(), 2)).encode()
    lines = [
        "POST /pose/hybrid HTTP/1.1",
        "Connection: close",
        "Content-Type: application/json",
        "Expect: 100-continue",
    ]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    first, _, rest = exchange(url, head.encode(), body, pause=0.2).partition(b"\r\n\r\n")
    assert first == b"HTTP/1.1 100 Continue" and rest.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: ".ljust(65_536, b"x"), 431),
        (b"POST /pose HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST /pose HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST /pose HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 65_537, 400),
        (b"POST /pose HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
    ],
)
def test_what_is_no_http_is_answered_in_json_all_the_same(sent, status, url):
    head, _, body = exchange(url, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.") and int(head.split()[1]) == status
    assert json.loads(body).keys() == {"frame_number", "error"}
    assert f'pose_service_errors_total{{status="{status}"}} 1.0' in requests.get(url + "/metrics").text


def test_fifty_megabytes_take_no_memory(url, engine):
    chunk = bytes(2**20)
    check_error(requests.post(url + "/pose/hybrid", data=chunk, headers=JSON), 400)
    before = resident()
    with ThreadPoolExecutor(4) as pool:
        body = bytes(50 * 2**20)
        before += len(body)
        for reply in pool.map(lambda _: requests.post(url + "/pose/hybrid", data=body, headers=JSON), range(8)):
            check_error(reply, 400)
    assert resident() - before < 20 * 2**20
    assert engine.requests == []


def resident() -> int:
    """Bytes of memory that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


# Those who wait, and those who let others wait


def test_health_answers_while_all_requests_wait(engine):
    """As many as there may be, with all threads that they may take."""
    waiting: list[Future] = []

    def wait(_):
        waiting.append(Future())
        return waiting[-1]

    engine.answers = wait
    with paper_service(engine, queue=64) as (url, _), ThreadPoolExecutor(64) as pool:
        replies = [pool.submit(requests.post, url + "/pose/hybrid", json=asked(plain(), n)) for n in range(64)]
        until = time.monotonic() + 30
        while len(waiting) < 64 and time.monotonic() < until:
            time.sleep(0.01)
        try:
            assert requests.get(url + "/health", timeout=5).status_code == 200
            assert requests.get(url + "/metrics", timeout=5).status_code == 200
            assert not any(reply.done() for reply in replies)
        finally:
            for future in waiting:
                future.set_result(Answer(200, b"{}", Stats()))
        assert [reply.result().status_code for reply in replies] == [200] * 64


def test_connections_that_drip_are_closed_and_others_are_served_meanwhile(engine, monkeypatch):
    """Slow loris: headers, bodies and chunks that never end, each sending a byte now and then."""
    monkeypatch.setattr(serverside, "PATIENCE", 2)
    monkeypatch.setattr(serverside, "IDLE", 4)
    head = b"POST /pose/hybrid HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    starts = [
        b"",
        b"GET / HTTP/1.1\r\nX: ",
        head + b"Content-Length: 9000\r\n\r\n{",
        head + b"Transfer-Encoding: chunked\r\n\r\n9",
    ]
    with paper_service(engine) as (url, server):
        host, _, port = url.removeprefix("http://").partition(":")
        connections = [socket.create_connection((host, int(port))) for _ in range(200)]
        for index, connection in enumerate(connections):
            connection.sendall(starts[index % 4])
            connection.settimeout(0.0)
        closed: set[socket.socket] = set()
        until = time.monotonic() + 40
        while len(closed) < len(connections) and time.monotonic() < until:
            assert requests.post(url + "/pose/hybrid", json=asked(plain()), timeout=5).status_code == 200
            for index, connection in enumerate(connections):
                try:
                    if index % 4:
                        connection.send(b"1")
                    if connection.recv(1000) == b"":
                        closed.add(connection)
                except BlockingIOError:
                    pass
                except OSError:
                    closed.add(connection)
            time.sleep(0.2)
        for connection in connections:
            connection.close()
        assert len(closed) == len(connections)


def test_a_slow_line_that_keeps_coming_is_served(url):
    """An image over some seconds, in small parts."""
    body = json.dumps(asked(plain(), 2)).encode()
    lines = ["POST /pose/hybrid HTTP/1.1", "Connection: close", "Content-Type: application/json"]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    parts = [body[start : start + 100] for start in range(0, len(body), 100)]
    received = exchange(url, head.encode(), *parts, pause=0.2)
    assert received.startswith(b"HTTP/1.1 200 ")


def test_a_client_that_leaves_harms_nobody(url, engine):
    done = threading.Event()

    def slowly(_):
        future = Future()
        threading.Timer(0.3, lambda: (future.set_result(Answer(200, b"x" * 5_000_000, Stats())), done.set())).start()
        return future

    engine.answers = slowly
    with pytest.raises(requests.Timeout):
        requests.post(url + "/pose/hybrid", json=asked(plain()), timeout=0.1)
    assert done.wait(5)
    engine.answers = None
    assert requests.post(url + "/pose/hybrid", json=asked(plain())).status_code == 200
