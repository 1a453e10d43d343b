"""The service's settings, from the environment."""

import pickle
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from pose_factory.errors import PoseFactoryError
from pose_factory.service.settings import SHIPPED, Settings, unknown

ROOT = Path(__file__).parents[1]
VARIABLES = {item.metadata["variable"]: item for item in fields(Settings) if "variable" in item.metadata}


def test_without_an_environment_it_is_the_contracts():
    settings = Settings.from_environment({})
    assert (settings.host, settings.port, settings.token) == ("127.0.0.1", 5000, None)
    assert (settings.backend, settings.device, settings.smoothing) == ("mediapipe", "auto", "one_euro")
    shipped = yaml.safe_load(SHIPPED.read_text())["tracking"]
    assert settings.tracking == {
        **shipped,
        "mode": "causal",
        "smoothing": {**shipped["smoothing"], "filter": "one_euro"},
    }


def test_each_variable_sets_its_field(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("tracking: {backend: mediapipe, association: {max_age: 7}}\n")
    chosen = {
        "POSE_SERVICE_HOST": "10.1.2.3",
        "POSE_SERVICE_PORT": "8080",
        "POSE_SERVICE_TOKEN": "secret",
        "POSE_SERVICE_TIMEOUT": "2.5",
        "MAX_CONCURRENT_PROCESSES": "3",
        "POSE_SERVICE_QUEUE": "5",
        "POSE_SERVICE_BACKEND": "hmr2",
        "POSE_SERVICE_DEVICE": "cuda",
        "POSE_SERVICE_SMOOTHING": "none",
        "POSE_SERVICE_CONFIG": str(config),
        "POSE_SERVICE_MAX_IMAGE_BYTES": "1000",
        "POSE_SERVICE_MAX_PIXELS": "2000",
        "POSE_SERVICE_MAX_BATCH": "4",
        "POSE_SERVICE_MAX_BATCH_BYTES": "3000",
        "POSE_SERVICE_MAX_VIDEO_BYTES": "4000",
        "POSE_SERVICE_SESSION_SECONDS": "10",
        "POSE_SERVICE_MAX_SESSIONS": "6",
        "POSE_SERVICE_MAX_JOBS": "2",
        "POSE_SERVICE_JOB_SECONDS": "20",
    }
    settings = Settings.from_environment(chosen)
    assert chosen.keys() == VARIABLES.keys()
    assert {name: str(getattr(settings, item.name)).removesuffix(".0") for name, item in VARIABLES.items()} == chosen
    assert settings.tracking["backend"] == "hmr2"
    assert settings.tracking["hmr2"]["device"] == "cuda"
    assert settings.tracking["smoothing"]["filter"] == "none"
    assert settings.tracking["association"]["max_age"] == 7
    assert settings.tracking["mode"] == "causal"
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_variable_that_is_empty_is_not_set():
    given = {name: " " for name in VARIABLES if name != "POSE_SERVICE_TOKEN"}
    assert Settings.from_environment(given) == Settings.from_environment({})


def test_a_configs_own_causal_smoothing_is_kept(tmp_path):
    (tmp_path / "c.yaml").write_text("tracking: {smoothing: {filter: none}}\n")
    assert Settings.from_environment({"POSE_SERVICE_CONFIG": str(tmp_path / "c.yaml")}).smoothing == "none"


def test_processes_by_default(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(9)), raising=False)
    assert Settings.from_environment({}).workers == 4
    assert Settings.from_environment({"POSE_SERVICE_BACKEND": "hmr2"}).workers == 1
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert Settings.from_environment({}).workers == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POSE_SERVICE_PORT", "http"),
        ("POSE_SERVICE_PORT", "65536"),
        ("POSE_SERVICE_PORT", "-1"),
        ("POSE_SERVICE_PORT", "٣"),
        ("POSE_SERVICE_QUEUE", "0"),
        ("POSE_SERVICE_QUEUE", "9" * 5000),
        ("POSE_SERVICE_TIMEOUT", "0"),
        ("POSE_SERVICE_TIMEOUT", "nan"),
        ("POSE_SERVICE_TIMEOUT", "inf"),
        ("POSE_SERVICE_TIMEOUT", "soon"),
        ("POSE_SERVICE_BACKEND", "openpose"),
        ("POSE_SERVICE_DEVICE", "tpu"),
        ("POSE_SERVICE_SMOOTHING", "savitzky_golay"),
        ("POSE_SERVICE_CONFIG", "/there/is/none.yaml"),
        ("POSE_SERVICE_CONFIG", "/"),
        ("MAX_CONCURRENT_PROCESSES", "1.5"),
        ("POSE_SERVICE_TOKEN", ""),
        ("POSE_SERVICE_TOKEN", "two words"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_the_variable(name, value):
    with pytest.raises(PoseFactoryError, match=rf"^{name}[^\n]*\.$"):
        Settings.from_environment({name: value})


@pytest.mark.parametrize("text", ["tracking: [", "- 1", "tracking: 3", "tracking: {fill: {order: [guess]}}"])
def test_a_wrong_config_is_one_sentence_that_names_the_file(text, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(PoseFactoryError, match=r"^[^\n]*c\.yaml[^\n]*\.$"):
        Settings.from_environment({"POSE_SERVICE_CONFIG": str(tmp_path / "c.yaml")})


def test_mediapipe_has_no_gpu():
    with pytest.raises(PoseFactoryError, match="mediapipe runs on the CPU"):
        Settings.from_environment({"POSE_SERVICE_DEVICE": "cuda"})


def test_the_token_is_in_no_text_of_the_settings():
    settings = Settings.from_environment({"POSE_SERVICE_TOKEN": "hush-hush"})
    assert "hush" not in repr(settings) and "hush" not in str(settings)


def test_a_misspelt_variable_is_told_of():
    (sentence,) = unknown({"POSE_SERVICE_PROT": "1", "PATH": "/bin", "POSE_SERVICE_PORT": "2"})
    assert sentence == "POSE_SERVICE_PROT is no setting of the service; the nearest is POSE_SERVICE_PORT."


def test_the_documents_table_is_the_settings():
    """Names in their order, and the defaults that a reader can check."""
    table = re.findall(
        r"^\| `([A-Z_]+)` \| ([^|]*) \| [^|]+ \|$", (ROOT / "docs" / "service.md").read_text(), re.MULTILINE
    )
    assert [name for name, _ in table] == list(VARIABLES)
    for name, told in table:
        default = VARIABLES[name].default
        if told.startswith("`"):
            assert str(default).removesuffix(".0") == told.strip("`"), name
        else:  # in words
            assert default is None or name == "POSE_SERVICE_CONFIG", name
