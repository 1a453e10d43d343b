"""The tracks of one view or video -> body.npz, body.json and joint_angles.parquet."""

from pose_factory import tables
from pose_factory.errors import PoseFactoryError
from pose_factory.files import read_about, read_json, read_table, write_json, write_table
from pose_factory.fitting.fit import fit_all
from pose_factory.fitting.fitted import write_bodies
from pose_factory.fitting.output import angle_table, report
from pose_factory.job import job
from pose_factory.tracking.reading import read_tracks

with job(snakemake):
    given = snakemake.input
    about, image, fps = read_about(given.tracks), read_json(given.image), read_json(given.facts)["fps"]
    if about["backend"] != "mediapipe":
        raise PoseFactoryError(
            f"{given.tracks} is {about['backend']}'s, whose bodies are in people.parquet: fit mediapipe's."
        )
    joints, size = about["joints"], (image["width"], image["height"])
    tracks = read_tracks(read_table(given.tracks), read_table(given.people), joints)
    bodies = dict(zip(tracks, fit_all(list(tracks.values()), joints, fps, size), strict=True))
    write_bodies(snakemake.output.body, bodies, fps)
    write_table(snakemake.output.angles, angle_table(bodies), tables.JOINT_ANGLES)
    write_json(snakemake.output.report, report(bodies, tracks, joints, size))
