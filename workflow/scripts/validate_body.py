"""Ground truth, tracks and fitted bodies of one view -> body_validation.json."""

from pose_factory.export.recording import read_recording
from pose_factory.files import read_about, read_json, read_table, write_json
from pose_factory.fitting.fitted import read_bodies
from pose_factory.geometry.camera import Camera
from pose_factory.job import job
from pose_factory.validation.body_fit_report import score, true_body

with job(snakemake):
    given, anny = snakemake.input, snakemake.params.anny
    bodies, fps = read_bodies(given.body)
    labels, camera = read_table(given.labels), Camera.from_json(read_json(given.camera))
    true = {}
    if anny:
        recording, first, _ = read_recording(given.motion, 0)
        true[0] = true_body(anny, recording, first, labels, camera)
    scores = score(
        bodies,
        labels,
        read_table(given.boxes),
        read_table(given.tracks),
        read_about(given.tracks)["joints"],
        camera,
        fps,
        true,
    )
    write_json(snakemake.output[0], scores)
