"""The real service is what its OpenAPI document says: tried out by schemathesis, with requests that fit and others."""

import base64
import json

import numpy as np
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from serving import PaperEngine, Service, encoded, person, service

from pose_factory.service.app import OPENAPI, make_app
from pose_factory.service.incoming import LONGEST_SESSION, MOST_FRAMES
from pose_factory.service.settings import Settings

TOKEN = "only-for-tests"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


def pictures() -> list[str]:
    """Small ones of all kinds, in base64; a person is in one of them."""
    image = np.random.default_rng(0).integers(0, 255, (16, 24, 3), np.uint8)
    files = [person(), *(encoded(image, kind) for kind in ("jpeg", "png", "webp"))]
    texts = [base64.b64encode(file).decode() for file in files]
    return [*texts, f"data:image/png;base64,{texts[2]}"]


schemathesis.openapi.format("image-base64", st.sampled_from(pictures()))


@pytest.fixture(scope="module")
def running() -> Service:
    # room for one film, for tracking them takes long
    with service(POSE_SERVICE_TOKEN=TOKEN, POSE_SERVICE_MAX_JOBS="1") as started:
        started.wait_until_ready()
        yield started


api = schemathesis.openapi.from_path(OPENAPI)


@api.parametrize()
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_each_operation(case, running):
    reply = case.call(base_url=running.url, headers=AUTHORIZED)
    no_room = reply.status_code == 503 and case.operation.path == "/pose/video"
    case.validate_response(reply, headers=AUTHORIZED, excluded_checks=[not_a_server_error] if no_room else [])


def test_what_the_document_says_is_open_is_and_nothing_else(running, document):
    for path, operations in document["paths"].items():
        for method in operations.keys() - {"parameters"}:
            reply = requests.request(method, running.url + path.replace("{job_id}", "x"), json={}, timeout=60)
            assert (reply.status_code == 401) == (operations[method].get("security") != []), (method, path)


# The document against the code


@pytest.fixture(scope="module")
def document() -> dict:
    return json.loads(OPENAPI.read_text())


def test_it_has_all_addresses_and_no_other(document):
    app = make_app(Settings.from_environment({}), PaperEngine())
    app.extensions["jobs"].close()
    there = {
        (rule.rule.replace("<name>", "{job_id}"), method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD"}
        if rule.endpoint not in ("page", "asset")
    }
    told = {
        (path, method)
        for path, operations in document["paths"].items()
        for method in operations
        if method in ("get", "post", "delete")
    }
    assert there == told


def test_its_limits_are_the_codes(document):
    fields = document["components"]["schemas"]["PoseRequest"]["properties"]
    assert fields["frame_number"]["maximum"] == MOST_FRAMES
    assert fields["session_id"]["maxLength"] == LONGEST_SESSION
    assert document["components"]["schemas"]["BatchRequest"]["properties"]["frames"]["maxItems"] == Settings.max_batch


def test_every_error_has_the_one_form(document):
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items() if isinstance(operation, dict) else ():
                if status[0] in "45":
                    name = response["$ref"].rpartition("/")[2]
                    content = document["components"]["responses"][name]["content"]
                    assert content == {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
