"""All views of one character -> rig_bias.json: where its rig and the tracker mean different points by a joint, and what
each view scores without that."""

from pose_factory.files import read_about, read_json, read_table, write_json
from pose_factory.geometry.camera import Camera
from pose_factory.job import job
from pose_factory.validation.report import pool

with job(snakemake):
    given = snakemake.input
    views = {
        angle: (
            read_table(labels),
            read_table(boxes),
            read_table(tracks),
            read_about(tracks)["joints"],
            Camera.from_json(read_json(camera)),
        )
        for angle, labels, boxes, tracks, camera in zip(
            snakemake.params.angles, given.labels, given.boxes, given.tracks, given.cameras, strict=True
        )
    }
    write_json(snakemake.output[0], pool(views, read_json(given.character)["fps"]))
