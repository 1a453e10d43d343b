# What people look at: a video per view, a contact sheet per character.


rule overlay:
    input:
        frames=rules.render.output.frames,
        facts=rules.render.output.facts,
        labels=rules.ground_truth.output.labels,
        tracks=rules.track.output[0],
    output:
        report(
            view("overlay.mp4"),
            caption="../workflow/report/overlay.rst",
            category="{character}",
            subcategory="overlays",
            labels={"view": "{camera_angle}", "what": "overlay"},
        ),
    log:
        view("logs/overlay.log"),
    benchmark:
        view("benchmarks/overlay.tsv")
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("overlay.py"),
    script:
        "../workflow/scripts/overlay.py"


rule contact_sheet:
    input:
        frames=views_of("frames"),
        facts=views_of("render.json"),
        labels=views_of("ground_truth.parquet"),
        tracks=views_of("tracks.parquet"),
        validations=views_of("validation.json"),
    output:
        report(
            f"{RESULTS}/review/{{character}}.png",
            caption="../workflow/report/contact_sheet.rst",
            category="{character}",
            subcategory="contact sheet",
            labels={"view": "all", "what": "contact sheet"},
        ),
    log:
        f"{RESULTS}/{{character}}/logs/contact_sheet.log",
    benchmark:
        f"{RESULTS}/{{character}}/benchmarks/contact_sheet.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        angles=list(ANGLES),
        code=code("contact_sheet.py"),
    script:
        "../workflow/scripts/contact_sheet.py"
