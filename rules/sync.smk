# Between this machine and the bucket that storage.remote names: characters' files come from there, and results go there
# as each character, video and the dataset is finished. The keys are known to the environment alone (docs/storage.md).


rule sync_inputs:
    output:
        files=directory(f"{RESULTS}/{{character}}/source"),
        receipt=f"{RESULTS}/{{character}}/source.json",
    log:
        f"{RESULTS}/{{character}}/logs/sync_inputs.log",
    wildcard_constraints:
        character=one_of(REMOTE),
    localrule: True
    conda:
        "../envs/storage.yaml"
    params:
        file=lambda wildcards: REMOTE[wildcards.character]["remote"],
        content=lambda wildcards: content_of(wildcards.character),
        code=code("sync_inputs.py"),
    script:
        "../workflow/scripts/sync_inputs.py"


rule sync_results:
    input:
        lambda wildcards: to_copy(of_character(wildcards.character)),
    output:
        f"{RESULTS}/{{character}}/synced.json",
    log:
        f"{RESULTS}/{{character}}/logs/sync_results.log",
    localrule: True
    conda:
        "../envs/storage.yaml"
    params:
        remote=STORAGE["remote"],
        results=lambda wildcards: RESULTS,
        folders=lambda wildcards: [wildcards.character, *[f"{wildcards.character}/{angle}" for angle in ANGLES]],
        code=code("sync_results.py"),
    script:
        "../workflow/scripts/sync_results.py"


rule sync_video:
    input:
        lambda wildcards: of_video(wildcards.video),
    output:
        f"{RESULTS}/videos/{{video}}/synced.json",
    log:
        f"{RESULTS}/videos/{{video}}/logs/sync_video.log",
    localrule: True
    conda:
        "../envs/storage.yaml"
    params:
        remote=STORAGE["remote"],
        results=lambda wildcards: RESULTS,
        folders=lambda wildcards: [f"videos/{wildcards.video}"],
        code=code("sync_results.py"),
    script:
        "../workflow/scripts/sync_results.py"


rule sync_dataset:
    input:
        of_dataset(),
    output:
        f"{RESULTS}/dataset/synced.json",
    log:
        f"{RESULTS}/dataset/logs/sync_dataset.log",
    localrule: True
    conda:
        "../envs/storage.yaml"
    params:
        remote=STORAGE["remote"],
        results=lambda wildcards: RESULTS,
        folders=["dataset"],
        code=code("sync_results.py"),
    script:
        "../workflow/scripts/sync_results.py"


# `snakemake prune_remote` lists what lies at the remote without being a result of this config; nothing else asks for it.
# It takes the receipts of all results, so that it knows them all, and refuses to go by a part of them.
rule prune_remote:
    input:
        receipts() if STORAGE["remote"] and not config.get("only") else [],
    log:
        f"{RESULTS}/review/logs/prune_remote.log",
    localrule: True
    conda:
        "../envs/storage.yaml"
    params:
        remote=STORAGE["remote"],
        only=config.get("only", []),
        confirmed=CONFIRMED == "prune",
        code=code("prune_remote.py"),
    script:
        "../workflow/scripts/prune_remote.py"
