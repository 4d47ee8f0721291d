"""Archives and snapshots -> models and texts in one plain form, and the splits of the chat text."""


rule make_model:
    """Make and train a tiny model."""
    input:
        text=STUDY.chat,
        splits=f"results/{STUDY.name}/splits.json",
        script=of_workflow("src/make_model.py"),
        lock=LOCK,
    output:
        manifest="assets/models/{model}/asset.json",
        model="assets/models/{model}/model.safetensors",
    log:
        "logs/models/{model}.log",
    wildcard_constraints:
        model=one_of(STUDY.made_models),
    resources:
        **asked(),
    params:
        folder=lambda w, output: str(Path(output.manifest).parent),
        flags=lambda w: STUDY.made_flags(w.model),
        sources=sources_of("make_model.py"),
    shell:
        r"""
        python {input.script:q} \
            --text {input.text:q} \
            --splits {input.splits:q} \
            --threads {threads} \
            {params.flags:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule prepare_model:
    """Convert a packaged or fetched model to a plain bf16 checkpoint."""
    input:
        source=lambda w: ancient(STUDY.source_file(STUDY.models[w.model])),
        script=of_workflow("src/prepare_model.py"),
        lock=LOCK,
    output:
        manifest="assets/models/{model}/asset.json",
        model="assets/models/{model}/model.safetensors",
    log:
        "logs/models/{model}.log",
    wildcard_constraints:
        model=one_of(set(STUDY.models) - set(STUDY.made_models)),
    resources:
        **asked("model"),
    params:
        folder=lambda w, output: str(Path(output.manifest).parent),
        flags=lambda w: STUDY.model_flags(w.model),
        sources=sources_of("prepare_model.py"),
    shell:
        r"""
        python {input.script:q} \
            {params.flags:q} \
            --threads {threads} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule prepare_text:
    """Extract one text from its archive."""
    input:
        source=lambda w: ancient(STUDY.source_file(STUDY.file.text[w.text])),
        script=of_workflow("src/prepare_text.py"),
    output:
        "assets/text/{text}.jsonl",
    log:
        "logs/text/{text}.log",
    resources:
        **asked(),
    params:
        flags=lambda w: STUDY.source_flags(STUDY.file.text[w.text]),
        sources=sources_of("prepare_text.py"),
    shell:
        r"""
        python {input.script:q} \
            {params.flags:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule split_text:
    """Draw the disjoint training, calibration and held-out conversations."""
    input:
        text=STUDY.chat,
        held_out=STUDY.held_out,
        script=of_workflow("src/split_text.py"),
    output:
        "results/{study}/splits.json",
    log:
        "logs/{study}/splits.log",
    localrule: True
    params:
        flags=STUDY.split_flags(),
        sources=sources_of("split_text.py"),
    shell:
        r"""
        python {input.script:q} \
            --text {input.text:q} \
            --held-out-text {input.held_out:q} \
            {params.flags:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


use rule split_text as split_text_of_a_seed with:
    # what trains and what calibrates, drawn anew; what is scored stays
    output:
        "results/{study}/seed{seed}/splits.json",
    log:
        "logs/{study}/seed{seed}/splits.log",
    params:
        flags=lambda w: [*STUDY.split_flags(), f"--replicate={w.seed}"],
        sources=sources_of("split_text.py"),


rule lock:
    """Time the study's products in bf16 and float32, once; `compute: auto` goes by the answer."""
    input:
        manifest=ancient(f"{STUDY.model}/asset.json"),
        script=ancient(of_workflow("src/lock.py")),
    output:
        STUDY.lock,
    log:
        f"logs/{STUDY.name}/lock.log",
    threads: every_core
    resources:
        **asked(),
        gpu=STUDY.gpus,
    params:
        flags=STUDY.lock_flags(),
    shell:
        r"""
        python {input.script:q} \
            {params.flags:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """
