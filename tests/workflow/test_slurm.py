"""The workflow on a real Slurm, undisturbed and struck; `make slurm-test` runs this.

Every run must end with the bytes of the run on this machine alone.
"""

import time
from pathlib import Path

import pytest
from slurm_cluster import NODES as HOSTS
from slurm_cluster import Cluster, wait_until
from slurm_runs import (
    LONG,
    ORDERINGS,
    STEPS,
    Local,
    Login,
    block,
    cluster,
    command,
    local,
    prepared,
    struck,
)
from workflow_fixtures import TABLES, content, parse_jobs

__all__ = ["cluster", "local"]  # fixtures

pytestmark = pytest.mark.cluster

# the plugin's comment ends in the wildcards' values: study, seed, pipeline
TRAINING = f"^rule_compress_wildcards_smoke_0_{LONG}$"
PATIENCE = 1200  # s, on a machine with other work
PREPARING = {"prepare_text": 5, "make_model": 1, "base": 1, "teach": 1, "reference": 1}
PREPARING |= {"table": 1, "analysis": 1}


def test_the_login_node_parses_the_workflow_without_torch(cluster: Cluster, tmp_path: Path):
    login = Login(prepared(tmp_path / "repository"), cluster)
    assert login.run("python -c 'import torch'")[0] != 0
    status, output = login.run(command("--dry-run"))
    assert status == 0, output
    assert parse_jobs(output) > TABLES
    assert login.jobs() == []


def test_the_readmes_commands_make_the_same_table(
    local: Local, cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Also with the controller restarted on the way: waiting and running jobs outlive it."""
    login = Login(prepared(tmp_path / "repository"), cluster)
    began = time.monotonic()
    snakemake = login.start(block())
    login.wait_for("^rule_compress", "COMPLETED")
    cluster.stop("slurmctld")
    time.sleep(5)  # some looks at the states of the jobs fail
    cluster.start_controller()
    assert snakemake.wait(timeout=3 * PATIENCE) == 0, login.output()[-4000:]
    seconds = time.monotonic() - began
    over = f"{seconds / local.seconds - 1:+.0%}"
    with capsys.disabled():
        print(f"\nsmoke study: here {local.seconds:.0f} s, on Slurm {seconds:.0f} s ({over})")
    assert content(login.copy) == content(local.copy)
    assert_each_job_ran_once(login)
    assert_side_by_side(login)


def assert_each_job_ran_once(login: Login) -> None:
    """Every prefix is one job, shared by all that begin with it; and each is Slurm's."""
    jobs = login.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    assert {job.restarts for job in jobs} == {0}
    assert {job.node for job in jobs} == set(HOSTS)
    names = [job.rule for job in jobs]
    assert len(set(names)) == len(names)
    for rule, count in PREPARING.items():
        assert len(login.jobs(f"^rule_{rule}(_wildcards|$)")) == count, rule
    stages, measures = login.jobs("^rule_compress"), login.jobs("^rule_measure")
    assert len(stages) == len(ORDERINGS) + 1  # and the long one
    assert len(measures) == len(ORDERINGS) + 2  # and the base
    assert len(names) == sum(PREPARING.values()) + len(stages) + len(measures)


def assert_side_by_side(login: Login) -> None:
    """Both nodes work: the three first stages depend on no other, nor do most measures."""
    jobs = login.jobs("^rule_(compress|measure)")
    pairs = [
        (one, two)
        for one in jobs
        for two in jobs
        if one.node < two.node and one.start < two.end and two.start < one.end
    ]
    assert len({job.number for pair in pairs for job in pair}) > len(jobs) / 2


def test_a_cancelled_job_and_a_lost_node(local: Local, cluster: Cluster, tmp_path: Path):
    """Both strike one training: it is submitted again, then requeued, and resumes both times."""
    login = Login(struck(local, tmp_path / "repository", LONG), cluster)
    snakemake = login.start(command())
    first = login.wait_for(TRAINING, "RUNNING")
    stored = login.wait_for_steps(STEPS // 5)
    cluster.run("scancel", str(first.number))

    second = login.wait_for(TRAINING, "RUNNING", after=first.number)
    wait_until(lambda: login.resumed_at() >= stored, PATIENCE, login.output)
    stored = login.wait_for_steps(stored + STEPS // 5)
    node = f"nodename={second.node}"
    cluster.run("scontrol", "update", node, "state=down", "reason=struck")
    wait_until(lambda: login.jobs(TRAINING)[-1].state == "PENDING", 60, login.output)
    # Slurm leaves a requeued job two minutes of rest: a node that still has it would refuse it
    wait_until(lambda: not cluster.has_steps(second.number), 60, login.output)
    cluster.run("scontrol", "update", f"jobid={second.number}", "starttime=now")

    def runs_again() -> bool:
        cluster.release_held(second.number)
        return login.jobs(TRAINING)[-1].state == "RUNNING"

    wait_until(runs_again, PATIENCE, login.output)
    wait_until(lambda: login.resumed_at() >= stored, PATIENCE, login.output)

    assert snakemake.wait(timeout=PATIENCE) == 0, login.output()[-4000:]
    cluster.wait_for_nodes()
    assert content(login.copy) == content(local.copy)
    assert [job.state for job in login.jobs(TRAINING)] == ["CANCELLED", "COMPLETED"]
    cancelled, requeued = login.jobs(TRAINING)
    assert cancelled.restarts == 0 < requeued.restarts


def test_a_killed_snakemake_starts_again(local: Local, cluster: Cluster, tmp_path: Path):
    """No finished job is repeated, and no job runs beside one of the killed run."""
    login = Login(struck(local, tmp_path / "repository", LONG, "P-KD-Q"), cluster)
    snakemake = login.start(command())
    first = login.wait_for(TRAINING, "RUNNING")
    short = "^rule_compress_wildcards_smoke_0_P-KD-Q$"
    login.wait_for(short, "(RUNNING|COMPLETED)")
    snakemake.kill()
    snakemake.wait()
    login.wait_for(short, "COMPLETED")  # the killed Snakemake never saw it
    before = login.jobs()

    status, output = login.run(command())
    assert status == 1
    assert "Directory cannot be locked" in output
    status, output = login.run(command("--unlock"))
    assert status == 0, output
    status, output = login.run(command())
    assert status == 1
    sentence = next(line for line in output.splitlines() if line.startswith("error: "))
    assert f"scancel {first.number}" in sentence
    assert "Traceback" not in output
    assert [job.number for job in login.jobs()] == [job.number for job in before]

    stored = login.wait_for_steps(1)
    active = [str(job.number) for job in cluster.active()]
    cluster.run("scancel", *active)
    wait_until(lambda: not cluster.active(), 60, login.output)
    status, output = login.run(command())
    assert status == 0, output[-4000:]
    assert login.resumed_at() >= stored
    assert content(login.copy) == content(local.copy)
    finished = [job.rule for job in login.jobs() if job.state == "COMPLETED"]
    assert len(set(finished)) == len(finished)
    assert [job.state for job in login.jobs(TRAINING)] == ["CANCELLED", "COMPLETED"]


def test_a_job_killed_for_its_memory_gets_more_and_the_gpus_it_asks_for(
    local: Local, cluster: Cluster, tmp_path: Path
):
    """Libraries alone take more than the first attempt is given here. The GPU is a stand-in."""
    login = Login(struck(local, tmp_path / "repository", "Q"), cluster)
    login.copy.edit("src/compression_order/workflow/resources.py", "MARGIN = 1.65", "MARGIN = 0.1")
    target = "results/smoke/seed0/checkpoints/Q/checkpoint.json"
    asked = command("--set-resources", "compress:gpu=2").replace("results/table.csv", target)
    status, output = login.run(asked)
    assert status == 0, output[-4000:]
    # OUT_OF_MEMORY where cgroups watch the memory, FAILED where Slurm samples it
    first, second = login.jobs()
    assert first.state in ("OUT_OF_MEMORY", "FAILED")
    assert "exceeded memory limit" in login.log(first)
    assert second.state == "COMPLETED"
    assert second.memory == 2 * first.memory > 0
    assert first.gpus == second.gpus == 2
    assert (login.copy.root / target).read_bytes() == (local.copy.root / target).read_bytes()
