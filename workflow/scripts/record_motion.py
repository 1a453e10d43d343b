"""A prepared character -> motion.npz: every joint and bone of its people in every frame."""

from pose_factory.blender import recording, scene
from pose_factory.export.recording import write_recording
from pose_factory.files import read_json
from pose_factory.job import job

with job(snakemake):
    facts = read_json(snakemake.input.facts)
    scene.open_character(snakemake.input.blend)
    people = recording.record(facts)
    write_recording(snakemake.output[0], people, facts["first_frame"], facts["fps"])
