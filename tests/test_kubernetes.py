"""The profile for Kubernetes as far as it goes without a cluster: its plan, and jobs whose files are in a bucket."""

import os
import re
import subprocess

import pytest
from s3 import serve

from workflow import REPOSITORY, Workflow

PLUGINS = REPOSITORY / ".venv" / "plugins"
PROFILE = REPOSITORY / "profiles" / "kubernetes"

pytestmark = pytest.mark.skipif(not PLUGINS.is_dir(), reason="NOT TESTED, for lack of plugins: run .ci/clusters.sh")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("s3") / "served") as server:
        yield server


def snakemake(workflow: Workflow, bucket, *arguments: str) -> str:
    """The console of a run whose files are in the bucket."""
    environment = {
        "PYTHONPATH": str(PLUGINS),
        "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": bucket.environment["R2_ENDPOINT"],
        "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": bucket.environment["R2_ACCESS_KEY_ID"],
        "SNAKEMAKE_STORAGE_S3_SECRET_KEY": bucket.environment["R2_SECRET_ACCESS_KEY"],
    }
    command = ["snakemake", *arguments, "--default-storage-prefix", "s3://bucket/x"]
    done = subprocess.run(
        command, cwd=workflow.root, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def workflow(tmp_path) -> Workflow:
    people = {name: {"anny": {"motion": "walk", "frames": 2}} for name in ("ann", "eve")}
    config = {"characters": people, "cameras": {"resolution": [64, 64], "angles": ["front"]}, "render": {"samples": 1}}
    return Workflow.new(tmp_path / "repository", config)


def test_a_character_is_a_pod_with_a_gpu(workflow, bucket):
    console = snakemake(workflow, bucket, "--profile", str(PROFILE), "--dry-run")
    assert console.count(" Group job character (") == 2
    render = re.search(r"    rule render:\n(?:        .*\n)*", console)[0]
    assert "gpu=1" in render and "gpu_manufacturer=nvidia" in render
    assert "s3://bucket/x/results/eve/front/frames (send to storage)" in console


def test_files_go_through_the_bucket(workflow, bucket):
    targets = ["results/eve/front/render.json", "results/eve/front/tracks.parquet"]
    snakemake(workflow, bucket, "--default-storage-provider", "s3", "--cores", "2", *targets)
    made = bucket.root / "x" / "results" / "eve" / "front"
    assert (made / "tracks.parquet").stat().st_size and len(list(made.glob("frames/*.png"))) == 2
    assert not (workflow.root / "results").exists()
