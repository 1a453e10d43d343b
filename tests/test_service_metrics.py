"""The service's figures, and its log."""

import logging
import math

import orjson
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from serving import PaperEngine, asked, paper_service, plain

from pose_factory.service import Answer, Stats
from pose_factory.service.logs import JsonLines
from pose_factory.service.metrics import Metrics


def figures(text: str) -> dict:
    """{(name, labels): value} as Prometheus reads them."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def answered(source: str | None, status: int = 200, repeat: bool = False, first: bool = False) -> Answer:
    return Answer(status, b"{}", Stats({"detect": 0.02}, source, 0.5, new_sequence=first, repeat=repeat))


def test_frames_are_counted_by_source_once_each():
    metrics = Metrics({})
    for answer in (
        answered("detected", first=True),
        answered("detected"),
        answered("predicted"),
        answered("predicted", repeat=True),
        answered(None),
        answered(None, status=500),
    ):
        metrics.frame(answer)
    found = figures(metrics.text().decode())
    assert found["pose_service_frames_total", ("source", "detected")] == 2
    assert found["pose_service_frames_total", ("source", "predicted")] == 1
    assert found["pose_service_frames_total", ("source", "none")] == 1
    assert found["pose_service_coverage",] == 0.75
    assert found["pose_service_sequences_total",] == 1
    assert found["pose_service_stage_seconds_count", ("stage", "detect")] == 6
    assert found["pose_service_stage_seconds_sum", ("stage", "detect")] == pytest.approx(0.12)


def test_without_frames_there_is_no_coverage():
    assert math.isnan(figures(Metrics({}).text().decode())["pose_service_coverage",])


def test_two_apps_count_for_themselves():
    one, other = Metrics({"films": ("Films", lambda: 3)}), Metrics({})
    one.frame(answered("detected"))
    assert ("pose_service_frames_total", ("source", "detected")) not in figures(other.text().decode())
    assert figures(one.text().decode())["pose_service_films",] == 3


def test_all_that_is_answered_is_counted():
    engine = PaperEngine()
    with paper_service(engine) as (url, _):
        for content in (asked(plain()), asked(plain(), 1), asked(b"none", 2)):
            requests.post(url + "/pose/hybrid", json=content)
        requests.post(url + "/pose/batch", json={"frames": [asked(plain()), {}]})
        requests.get(url + "/jobs/of-somebody")
        requests.get(url + "/nowhere/secret")
        text = requests.get(url + "/metrics").text
    found = figures(text)
    assert found["pose_service_responses_total", ("route", "POST /pose/hybrid"), ("status", "200")] == 2
    assert found["pose_service_responses_total", ("route", "POST /pose/hybrid"), ("status", "400")] == 1
    assert found["pose_service_responses_total", ("route", "POST /pose/batch"), ("status", "200")] == 1
    assert found["pose_service_responses_total", ("route", "GET /jobs/<name>"), ("status", "404")] == 1
    assert found["pose_service_responses_total", ("route", "unknown"), ("status", "404")] == 1
    assert found["pose_service_errors_total", ("status", "400")] == 2
    assert found["pose_service_frames_total", ("source", "detected")] == 3
    assert found["pose_service_request_seconds_count", ("route", "POST /pose/hybrid")] == 3
    assert found["pose_service_queue_length",] == 7
    assert found["pose_service_worker_restarts",] == 1
    assert found["pose_service_sessions",] == 3
    assert found["process_resident_memory_bytes",] > 0
    assert "secret" not in text and "somebody" not in text


# The log


def lines(caplog) -> list[dict]:
    """What is logged, as the service writes it."""
    formatter = JsonLines()
    return [
        orjson.loads(formatter.format(record)) for record in caplog.records if record.name.startswith("pose_factory")
    ]


def test_each_request_is_a_line_that_tells_no_secrets(caplog):
    caplog.set_level(logging.INFO, "pose_factory")
    with paper_service(PaperEngine(), token="hush-hush") as (url, _):
        headers = {"Authorization": "Bearer hush-hush"}
        content = asked(plain(), 5, session_id="s")
        requests.post(url + "/pose/hybrid", json=content, headers=headers)
        requests.post(url + "/pose/hybrid", json=asked(b"none", 6), headers=headers)
        requests.get(url + "/jobs/secret-id", headers=headers)
        requests.get(url + "/jobs/secret-id", headers={"Authorization": "Bearer wrong-guess"})
    told = [line for line in lines(caplog) if line.get("event") == "request"]
    assert [(line.get("route"), line["status"]) for line in told] == [
        ("POST /pose/hybrid", 200),
        ("POST /pose/hybrid", 400),
        ("GET /jobs/<name>", 404),
        (None, 401),  # refused before anybody looked where it was to go
    ]
    assert (told[0]["frame_number"], told[0]["session_id"]) == (5, "s")
    assert told[0]["request_ms"] > 0 and told[0]["level"] == "info" and told[0]["time"].startswith("20")
    assert told[1]["error"].startswith("image_base64")
    text = str(lines(caplog))
    for secret in ("hush-hush", "wrong-guess", "secret-id", content["image_base64"][:40]):
        assert secret not in text


def test_a_failure_is_one_line_with_its_traceback():
    try:
        raise ValueError("broken\nin two")
    except ValueError as error:
        record = logging.LogRecord("pose_factory", logging.ERROR, __file__, 1, "An answer failed.", (), None)
        record.exc_info = (type(error), error, error.__traceback__)
    text = JsonLines().format(record)
    assert "\n" not in text
    assert "ValueError: broken" in orjson.loads(text)["traceback"]
