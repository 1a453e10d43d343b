# Real footage: tracked and drawn as rendered views are, without ground truth.


rule track_video:
    input:
        lambda wildcards: VIDEOS[wildcards.video],
    output:
        tracks=f"{RESULTS}/videos/{{video}}/tracks.parquet",
        people=f"{RESULTS}/videos/{{video}}/people.parquet",
        report=f"{RESULTS}/videos/{{video}}/tracking.json",
        facts=f"{RESULTS}/videos/{{video}}/video.json",
    log:
        f"{RESULTS}/videos/{{video}}/logs/track_video.log",
    benchmark:
        f"{RESULTS}/videos/{{video}}/benchmarks/track_video.tsv"
    conda:
        "../envs/tracking.yaml"
    threads: 4
    resources:
        gpu=TRACK_GPUS,
    params:
        settings=TRACKING,
        # A file replaced by an older one, as from a backup, is not newer than what was made of it.
        size=lambda wildcards: os.path.getsize(VIDEOS[wildcards.video]),
        code=code("track_video.py"),
    script:
        "../workflow/scripts/track_video.py"


rule overlay_video:
    input:
        video=lambda wildcards: VIDEOS[wildcards.video],
        tracks=rules.track_video.output.tracks,
    output:
        report(
            f"{RESULTS}/videos/{{video}}/overlay.mp4",
            caption="../workflow/report/overlay_video.rst",
            category="videos",
            labels={"view": "{video}", "what": "overlay"},
        ),
    log:
        f"{RESULTS}/videos/{{video}}/logs/overlay_video.log",
    benchmark:
        f"{RESULTS}/videos/{{video}}/benchmarks/overlay_video.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("overlay_video.py"),
    script:
        "../workflow/scripts/overlay_video.py"
