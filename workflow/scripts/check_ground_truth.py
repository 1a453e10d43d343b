"""The labels of all views of one character -> ground_truth_check.json, or an error: they are the product."""

from pose_factory.files import read_json, read_table, write_json
from pose_factory.geometry.camera import Camera
from pose_factory.job import job
from pose_factory.validation.ground_truth_check import check_character

with job(snakemake):
    angles, limits = snakemake.params.angles, snakemake.params.limits
    cameras = [Camera.from_json(read_json(path)) for path in snakemake.input.cameras]
    labels = map(read_table, snakemake.input.labels)
    result = check_character(
        dict(zip(angles, zip(labels, cameras, strict=True), strict=True)),
        tolerance_mm=limits["triangulation_mm"],
        tolerance_px=limits["reprojection_px"],
        min_inside_silhouette=limits["inside_silhouette"],
        measured=dict(zip(angles, map(read_json, snakemake.input.checks), strict=True)),
    )
    write_json(snakemake.output[0], result)
