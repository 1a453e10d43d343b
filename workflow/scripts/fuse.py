"""Tracks of all views of one character -> fused.parquet, what it is worth, and the views' repaired tracks."""

import numpy as np

from pose_factory import tables
from pose_factory.files import read_about, read_json, read_table, write_json, write_table
from pose_factory.geometry.camera import Camera
from pose_factory.job import job
from pose_factory.review import plots
from pose_factory.tracking.views import fuse_views, fused_table, repair
from pose_factory.validation.fusion_report import ALL_VIEWS, View, fusion_report

with job(snakemake):
    given, made, settings = snakemake.input, snakemake.output, snakemake.params.settings
    labels, boxes, tracks = (list(map(read_table, files)) for files in (given.labels, given.boxes, given.tracks))
    about = list(map(read_about, given.tracks))
    joint_sets = [each["joints"] for each in about]
    cameras = [Camera.from_json(read_json(camera)) for camera in given.cameras]
    frames = np.unique(labels[0].frame)
    people = fuse_views(tracks, cameras, frames, labels[0].person.nunique() == 1, settings)
    repaired = [
        repair(table, people, index, camera, frames, settings)
        for index, (table, camera) in enumerate(zip(tracks, cameras, strict=True))
    ]
    tables_of_views = zip(labels, boxes, tracks, repaired, joint_sets, cameras, strict=True)
    views = {angle: View(*of_view) for angle, of_view in zip(snakemake.params.angles, tables_of_views, strict=True)}
    report, by_frame = fusion_report(people, views)
    write_table(made.fused, fused_table(people, frames), tables.FUSED)
    for path, table, of_tracks in zip(made.repaired, repaired, about, strict=True):
        write_table(path, table, of_tracks | {"schema": "repaired/1"})
    plots.views_against_fused(by_frame, ALL_VIEWS, snakemake.wildcards.character, made.plot)
    write_json(made.report, report)
