"""The settings of the service, from the environment. docs/service.md has the same table."""

import difflib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from pose_factory.config import load
from pose_factory.errors import PoseFactoryError
from pose_factory.tracking import BACKENDS

SHIPPED = Path(__file__).resolve().parents[3] / "config" / "config.yaml"
DEVICES = ("auto", "cuda", "mps", "cpu")
SMOOTHINGS = ("one_euro", "none")
MIB = 2**20


def _text(name: str, value: str) -> str:
    return value


def _token(name: str, value: str) -> str:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise PoseFactoryError(f"{name} has a character that no header can carry; use letters and digits.")
    return value


def _one_of(*valid: str) -> Callable[[str, str], str]:
    def read(name: str, value: str) -> str:
        if value not in valid:
            raise PoseFactoryError(f"{name} is '{value}'; use one of {', '.join(valid)}.")
        return value

    return read


def _whole(least: int, most: int) -> Callable[[str, str], int]:
    def read(name: str, value: str) -> int:
        if not (value.isascii() and value.isdigit() and len(value) < 20 and least <= int(value) <= most):
            raise PoseFactoryError(f"{name} is '{value}', but must be a whole number from {least} to {most}.")
        return int(value)

    return read


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 86_400:
        raise PoseFactoryError(f"{name} is '{value}', but must be a number of seconds above 0 and at most 86400.")
    return seconds


def _setting(variable: str, read: Callable[[str, str], Any], default: Any, about: str, **more: Any) -> Any:
    metadata = {"variable": variable, "read": read, "about": about}
    return field(default=default, metadata=metadata, **more)


@dataclass(frozen=True)
class Settings:
    """What the service goes by. Make it with `from_environment`, which fills in what depends on other settings."""

    host: str = _setting("POSE_SERVICE_HOST", _text, "127.0.0.1", "the address to listen on")
    port: int = _setting("POSE_SERVICE_PORT", _whole(0, 65_535), 5000, "the port; 0 takes any that is free")
    token: str | None = _setting("POSE_SERVICE_TOKEN", _token, None, "the bearer token of clients", repr=False)
    timeout: float = _setting("POSE_SERVICE_TIMEOUT", _seconds, 30.0, "seconds that an answer may take")
    workers: int | None = _setting("MAX_CONCURRENT_PROCESSES", _whole(1, 256), None, "processes that track")
    queue: int = _setting("POSE_SERVICE_QUEUE", _whole(1, 1000), 64, "requests that may wait or run")
    backend: str | None = _setting("POSE_SERVICE_BACKEND", _one_of(*BACKENDS), None, "the tracker's backend")
    device: str = _setting("POSE_SERVICE_DEVICE", _one_of(*DEVICES), "auto", "what the network runs on")
    smoothing: str | None = _setting("POSE_SERVICE_SMOOTHING", _one_of(*SMOOTHINGS), None, "smoothing over time")
    config: str = _setting("POSE_SERVICE_CONFIG", _text, str(SHIPPED), "a config file, for its `tracking` section")
    max_image_bytes: int = _setting(
        "POSE_SERVICE_MAX_IMAGE_BYTES", _whole(1, 1024 * MIB), 10 * MIB, "the largest image file, in bytes"
    )
    max_pixels: int = _setting(
        "POSE_SERVICE_MAX_PIXELS",
        _whole(1, 1_000_000_000),
        25_000_000,
        "the most pixels of an image or of a film's frame",
    )
    max_batch: int = _setting("POSE_SERVICE_MAX_BATCH", _whole(1, 10_000), 64, "the most frames in a batch")
    max_batch_bytes: int = _setting(
        "POSE_SERVICE_MAX_BATCH_BYTES", _whole(1, 4096 * MIB), 64 * MIB, "the largest body of a batch, in bytes"
    )
    max_video_bytes: int = _setting(
        "POSE_SERVICE_MAX_VIDEO_BYTES", _whole(1, 65_536 * MIB), 512 * MIB, "the largest film file, in bytes"
    )
    session_seconds: float = _setting(
        "POSE_SERVICE_SESSION_SECONDS", _seconds, 300.0, "seconds until an idle session ends"
    )
    max_sessions: int = _setting("POSE_SERVICE_MAX_SESSIONS", _whole(1, 100_000), 64, "sessions at a time")
    max_jobs: int = _setting("POSE_SERVICE_MAX_JOBS", _whole(1, 1000), 8, "films at a time, finished ones too")
    job_seconds: float = _setting("POSE_SERVICE_JOB_SECONDS", _seconds, 3600.0, "seconds that a film's result is kept")
    tracking: dict = field(default_factory=dict)
    """The config's `tracking` section, defaults filled in: causal, with the backend, device and smoothing above."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """The settings that `environment` makes; a variable that is missing or empty has its default. Raises
        PoseFactoryError for the first wrong one."""
        chosen = {}
        for item in fields(cls):
            if "variable" not in item.metadata:
                continue
            name = item.metadata["variable"]
            value = environment.get(name, "").strip()
            if value:
                chosen[item.name] = item.metadata["read"](name, value)
            elif name == "POSE_SERVICE_TOKEN" and name in environment:  # whoever sets it wants to be protected
                raise PoseFactoryError(f"{name} is empty; give it a token, or remove it to serve without one.")
        plain = cls(**chosen)
        tracking = _tracking(plain)
        if tracking["backend"] == "mediapipe" and plain.device not in ("auto", "cpu"):
            raise PoseFactoryError(
                f"POSE_SERVICE_DEVICE is {plain.device}, but the backend mediapipe runs on the CPU; use auto or cpu."
            )
        chosen |= {"backend": tracking["backend"], "smoothing": tracking["smoothing"]["filter"], "tracking": tracking}
        chosen.setdefault("workers", _workers(tracking["backend"]))
        return cls(**chosen)


def unknown(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable of `environment` that looks like a setting and is none."""
    names = [item.metadata["variable"] for item in fields(Settings) if "variable" in item.metadata]
    strangers = [name for name in sorted(environment) if name.startswith("POSE_SERVICE_") and name not in names]
    nearest = {name: difflib.get_close_matches(name, names, n=1) for name in strangers}
    return [
        f"{name} is no setting of the service" + (f"; the nearest is {near[0]}." if near else ".")
        for name, near in nearest.items()
    ]


def _workers(backend: str) -> int:
    """One process for each two cores, which each may use two; one alone with a network that fills a GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if backend == "hmr2" else max(1, cores // 2)


def _tracking(settings: Settings) -> dict:
    """The `tracking` section of the config file, with what the environment says put into it."""
    path = Path(settings.config).expanduser()
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no YAML"
        raise PoseFactoryError(f"POSE_SERVICE_CONFIG: cannot read {path}: {reason}.") from error
    section = content.get("tracking") or {} if isinstance(content, dict) else None
    if not isinstance(section, dict):
        raise PoseFactoryError(f"POSE_SERVICE_CONFIG: {path} has no section `tracking`; see config/config.yaml.")
    section = {**section, "mode": "causal"}
    if settings.backend:
        section["backend"] = settings.backend
    if settings.device != "auto":
        section["hmr2"] = {**(section.get("hmr2") or {}), "device": settings.device}
    smoothing = section.get("smoothing")
    if isinstance(smoothing, dict | None):
        now = (smoothing or {}).get("filter", "savitzky_golay")
        # a centred window, as films have it, looks into the future
        live = settings.smoothing or ("one_euro" if now == "savitzky_golay" else now)
        section["smoothing"] = {**(smoothing or {}), "filter": live}
    try:
        # the section is all that the service needs; nobody is rendered
        return load({"characters": {"nobody": {"anny": {}}}, "tracking": section}, path.parent)["tracking"]
    except PoseFactoryError as error:
        raise PoseFactoryError(f"{path}: {error}") from error
