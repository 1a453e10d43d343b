"""bounds.json and one camera angle of the config -> camera.json."""

from pose_factory.files import read_json, write_json
from pose_factory.geometry.framing import frame_view
from pose_factory.job import job

with job(snakemake):
    bounds, params = read_json(snakemake.input.bounds), snakemake.params
    write_json(snakemake.output[0], frame_view(bounds, params.angle, params.variation))
