# The labelled pictures as a dataset to train on (docs/export.md): `snakemake --cores all export`; nothing else asks for
# it. In each format a character is a shard of its own, in the folder of its split, so that another character rewrites
# none of them; what holds for all is gathered at the end. All of it runs here, where the pictures are.


rule export_facts:
    input:
        unpack(labelled),
    output:
        shard("shards/*/facts.json"),
    log:
        f"{RESULTS}/{{character}}/logs/export_facts_{{split}}.log",
    benchmark:
        f"{RESULTS}/{{character}}/benchmarks/export_facts_{{split}}.tsv"
    localrule: True
    conda:
        "../envs/analysis.yaml"
    params:
        angles=list(ANGLES),
        # What is known of the bodies that are made here.
        bodies=lambda wildcards: bodies_of(wildcards.character),
        terms=lambda wildcards: terms_of(wildcards.character),
        gathered=[CARD],
        code=code("export_facts.py"),
    script:
        "../workflow/scripts/export_facts.py"


rule export_coco:
    input:
        unpack(labelled),
        frames=views_of("frames"),
        masks=views_of("passes") if MASKS else [],
    output:
        folder=directory(shard("coco/images/*")),
        images=shard("shards/*/images.jsonl"),
        people=[shard(f"shards/*/keypoints_{count}.jsonl") for count in COCO_FILES],
    log:
        f"{RESULTS}/{{character}}/logs/export_coco_{{split}}.log",
    benchmark:
        f"{RESULTS}/{{character}}/benchmarks/export_coco_{{split}}.tsv"
    localrule: True
    conda:
        "../envs/analysis.yaml"
    params:
        angles=list(ANGLES),
        terms=lambda wildcards: terms_of(wildcards.character),
        gathered=[CARD, *annotations()],
        code=code("export_coco.py"),
    script:
        "../workflow/scripts/export_coco.py"


rule export_yolo:
    input:
        unpack(labelled),
        frames=views_of("frames"),
    output:
        images=directory(shard("yolo/images/*")),
        labels=directory(shard("yolo/labels/*")),
    log:
        f"{RESULTS}/{{character}}/logs/export_yolo_{{split}}.log",
    benchmark:
        f"{RESULTS}/{{character}}/benchmarks/export_yolo_{{split}}.tsv"
    localrule: True
    conda:
        "../envs/analysis.yaml"
    params:
        angles=list(ANGLES),
        gathered=[CARD],
        code=code("export_yolo.py"),
    script:
        "../workflow/scripts/export_yolo.py"


rule export_webdataset:
    input:
        unpack(labelled),
        frames=views_of("frames"),
    output:
        directory(shard("webdataset/*")),
    log:
        f"{RESULTS}/{{character}}/logs/export_webdataset_{{split}}.log",
    benchmark:
        f"{RESULTS}/{{character}}/benchmarks/export_webdataset_{{split}}.tsv"
    localrule: True
    conda:
        "../envs/analysis.yaml"
    params:
        angles=list(ANGLES),
        size=EXPORT["shard_size"],
        gathered=[CARD],
        code=code("export_webdataset.py"),
    script:
        "../workflow/scripts/export_webdataset.py"


rule export_arrays:
    input:
        unpack(labelled),
    output:
        directory(shard("arrays/*")),
    log:
        f"{RESULTS}/{{character}}/logs/export_arrays_{{split}}.log",
    benchmark:
        f"{RESULTS}/{{character}}/benchmarks/export_arrays_{{split}}.tsv"
    localrule: True
    conda:
        "../envs/analysis.yaml"
    params:
        angles=list(ANGLES),
        gathered=[CARD],
        code=code("export_arrays.py"),
    script:
        "../workflow/scripts/export_arrays.py"


rule gather_coco:
    input:
        facts=shards("shards/*/facts.json"),
        images=shards("shards/*/images.jsonl"),
        people=[file for count in COCO_FILES for file in shards(f"shards/*/keypoints_{count}.jsonl")],
    output:
        annotations(),
    log:
        exported("logs/gather_coco.log"),
    localrule: True
    conda:
        "../envs/analysis.yaml"
    params:
        counts=list(COCO_FILES),
        splits=[(character, SPLITS[character]) for character in CHARACTERS],
        code=code("gather_coco.py"),
    script:
        "../workflow/scripts/gather_coco.py"


rule gather_yolo:
    input:
        [folder for tree in TREES["yolo"] for folder in shards(f"{tree}/*")],
    output:
        exported("yolo/data.yaml"),
    log:
        exported("logs/gather_yolo.log"),
    localrule: True
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("gather_yolo.py"),
    script:
        "../workflow/scripts/gather_yolo.py"


# The last one: it also takes away the shards of characters that are no longer there, or in another split.
rule export_card:
    input:
        facts=shards("shards/*/facts.json"),
        # Not read, but measured.
        made=[*[file for name in EXPORT["formats"] for file in of_format(name)], *motions()],
    output:
        CARD,
    log:
        exported("logs/export_card.log"),
    localrule: True
    conda:
        "../envs/analysis.yaml"
    params:
        splits=[(character, SPLITS[character]) for character in CHARACTERS],
        formats=EXPORT["formats"],
        motions=["motion"] if motions() else [],
        settings={"seed": EXPORT["seed"], "shares": EXPORT["shares"]},
        code=code("export_card.py"),
    script:
        "../workflow/scripts/export_card.py"


rule export:
    input:
        exports(),
