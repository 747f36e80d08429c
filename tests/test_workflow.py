"""The complete workflow on a tiny corpus: its outputs, its jobs and what the selection can read."""

import csv
import json
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from workflows import (
    REPO,
    RESULTS,
    TINY,
    cluster_job,
    editing,
    environment,
    make_copy,
    planned,
    rows,
    snakemake,
    without_times,
)

from skipclm.runtime import job_environment

pytestmark = pytest.mark.slow


def test_grid_table_has_a_row_for_each_cell_and_best_json_names_the_highest(finished):
    table = rows(finished / RESULTS / "grid/scores.tsv")
    assert [(row["pair"], row["skip_target"], row["seed"]) for row in table] == [
        ("en-de", "2", "1"),
        ("en-de", "3", "1"),
    ]
    best = json.loads((finished / RESULTS / "grid/best.json").read_text(encoding="utf-8"))
    assert best["en-de"]["value"] == max(float(row["bleu"]) for row in table)
    assert best["en-zh"]["selected_on"] == "en-de"


def test_ablation_table_has_every_pair_variant_seed_and_metric(finished):
    table = rows(finished / RESULTS / "ablation/scores.tsv")
    keys = {(row["pair"], row["variant"], row["seed"], row["metric"]) for row in table}
    variants = ["full", "finetune", "base"]
    metrics = ("bleu", "chrf", "empty", "copied", "wrong_language", "looping", "length_ratio", "cut")
    assert keys == {(p, v, "1", m) for p in TINY["pairs"] for v in variants for m in metrics}
    assert len(keys) == len(table)
    assert {row["signature"].split("|")[3] for row in table if (row["pair"], row["metric"]) == ("en-zh", "bleu")} == {
        "tok:zh"
    }


def test_every_variant_is_compared_with_fine_tuning(finished):
    table = rows(finished / RESULTS / "ablation/significance.tsv")
    assert [(row["pair"], row["variant"], row["metric"]) for row in table] == [
        (pair, variant, metric) for pair in TINY["pairs"] for variant in ("full", "base") for metric in ("bleu", "chrf")
    ]
    assert all(float(row["low"]) <= float(row["difference"]) <= float(row["high"]) for row in table)
    assert all(float(row["p"]) <= float(row["p_holm"]) <= 1 for row in table)


def test_splits_have_their_sizes_and_share_no_sentence(finished):
    corpus = finished / RESULTS / "corpus"
    seen = {}
    for path in corpus.glob("*/*.*"):
        split, language = path.name.split(".")
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            assert seen.setdefault((language, line), split) == split
    assert len((corpus / "en-zh/valid.zh").read_text(encoding="utf-8").split("\n")) == 12 + 1
    assert len((corpus / "en-zh/test.zh").read_text(encoding="utf-8").split("\n")) == 15 + 1


def test_every_split_is_checked(finished):
    for pair in TINY["pairs"]:
        train, valid, test = (
            json.loads((finished / RESULTS / f"tokens/{pair}/{split}.json").read_text(encoding="utf-8"))
            for split in ("train", "valid", "test")
        )
        assert train["trainings"] == [
            {"max_tokens": 256, "batch_size": 8, "validations": 2, "used": train["pairs"], "of": train["pairs"]}
        ]
        assert (valid["pairs"], test["pairs"], test["too_long"], test["context"]) == (12, 15, [], 512)
        assert test["source"]["changed"] == 0
        # Translations have 8 tokens at most, and all references have more.
        assert (len(test["cut"]), test["changed"]) == (15, 0)
        assert 0 < valid["ceiling"]["chrf"]["value"] < 80


def test_tables_and_report_have_warnings_and_dropped_lines(finished):
    report = (finished / RESULTS / "report.txt").read_text(encoding="utf-8")
    assert "Warning: en-de test: en: 1 of 16 sentences hold tags, first number 3: '<i>" in report
    assert "Warning: en-zh test: 15 of 15 references have more tokens than a translation may have" in report
    assert "change when they are encoded" not in report
    table = rows(finished / RESULTS / "ablation/table.tsv")
    assert {(row["lines"], row["dropped"]) for row in table} == {("16", "1 blank")}
    assert all(float(row["ceiling"]) < 80 for row in table if row["metric"] == "bleu")
    assert "15 of 16 lines are scored" in (finished / RESULTS / "ablation/table.md").read_text(encoding="utf-8")


def test_figures_tables_and_report_exist(finished):
    names = [
        "ablation.test.bleu",
        "ablation.test.chrf",
        "grid_heatmap.en-de",
        "grid_curve.en-de",
        "grid_training.en-de",
    ]
    for name in names:
        for kind in ("svg", "png"):
            assert (finished / RESULTS / f"figures/{name}.{kind}").stat().st_size > 1000
    for name in ("table.md", "table.tex", "table.html", "table.tsv"):
        assert "finetune" in (finished / RESULTS / "ablation" / name).read_text(encoding="utf-8")
    assert "Best layers" in (finished / RESULTS / "report.txt").read_text(encoding="utf-8")


def test_logs_show_progress_with_loss_rate_and_speed(finished):
    log = (finished / "logs/tiny/ablation/en-de/full/seed1/train.log").read_text(encoding="utf-8")
    for part in ("4/4", "loss", "learning rate", "tokens per second"):
        assert part in log


def test_trained_models_are_ordinary_folders_with_a_record(finished):
    run = finished / RESULTS / "ablation/en-de/full/seed1"
    record = json.loads((run / "model/skipclm.json").read_text(encoding="utf-8"))
    best = json.loads((finished / RESULTS / "grid/best.json").read_text(encoding="utf-8"))["en-de"]
    assert record["settings"]["skip"]["target"] == best["skip_target"]
    assert json.loads((run / "model/config.json").read_text(encoding="utf-8"))["model_type"] == "skipclm"
    assert {"commit", "versions", "machine", "train_seconds", "seed", "pair"} <= record.keys()


def test_second_run_has_nothing_to_do(finished):
    assert "Nothing to be done" in snakemake(finished)


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", "| true", ">output"])
def test_cost_is_written_even_if_the_report_cannot_be_printed(copied, redirection):
    for name in ("report.txt", "cost.tsv"):
        (copied / RESULTS / name).unlink()
    command = f'set -o pipefail; "$0" -P -m snakemake --cores 2 --configfile tiny.yaml {redirection}'
    variables = environment(copied) | {"PYTHONUNBUFFERED": "", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        ["bash", "-c", command, sys.executable], cwd=copied, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (copied / RESULTS / "cost.tsv").exists()
    if redirection == ">output":
        assert "What all jobs took" in (copied / "output").read_text(encoding="ascii")


def test_run_in_another_folder_gives_the_same_weights_translations_and_scores(finished, tmp_path):
    again, run = make_copy(tmp_path), RESULTS / "grid/en-de/c1-s1-t2/seed1"
    snakemake(again, str(run / "valid.scores.json"))
    for name in ("model/model.safetensors", "valid.hypotheses.txt"):
        assert (finished / run / name).read_bytes() == (again / run / name).read_bytes()
    one, two = (json.loads((folder / run / "valid.scores.json").read_text()) for folder in (finished, again))
    assert without_times(one) == without_times(two)


def test_modules_of_the_working_folder_do_not_shadow_others(tmp_path):
    folder = make_copy(tmp_path / "copy")
    for name in ("random", "statistics", "calendar", "queue", "datasets", "jsonschema", "pandas", "tensorboard"):
        (folder / f"{name}.py").write_text(f"raise RuntimeError('{name}.py of the working folder')\n")
    targets = [str(RESULTS / name) for name in ("corpus/overlap.tsv", "tokens/en-de/train.safetensors")]
    assert "4 of 4 steps (100%) done" in snakemake(folder, *targets)


def test_queued_job_does_what_was_planned(tmp_path, monkeypatch):
    monkeypatch.delenv(job_environment.INVOCATION, raising=False)
    folder = make_copy(tmp_path / "copy")
    summary = folder / RESULTS / "corpus/summary.tsv"
    snakemake(folder, str(summary.relative_to(folder)))
    (record,) = (str(path.relative_to(folder)) for path in (folder / "logs/tiny/invocations").iterdir())
    before = summary.read_bytes()
    with editing(folder) as config:
        config["experiment"] = "other"
        config["corpus"]["valid"]["size"] = 9
    summary.unlink()
    cluster_job(folder, "build_corpus", record)
    assert summary.read_bytes() == before
    assert not (folder / "results/other").exists()
    with editing(folder) as config:
        config["experiment"] = "tiny"
    snakemake(folder, str(summary.relative_to(folder)), "--dry-run")
    assert "does nothing" not in cluster_job(folder, "build_corpus", record)
    snakemake(folder, str(summary.relative_to(folder)))  # now another Snakemake was started and has ended
    after = summary.read_bytes()
    assert after != before
    output = cluster_job(folder, "build_corpus", record, check=False)
    assert "another Snakemake was started" in output
    assert "let the cluster pass environment variables" in cluster_job(folder, "build_corpus", None, check=False)
    with open(folder / "workflow/rules/corpus.smk", "a", encoding="utf-8") as file:
        file.write("# edited\n")
    (record,) = (str(path.relative_to(folder)) for path in (folder / "logs/tiny/invocations").iterdir())
    assert "they were edited since" in " ".join(cluster_job(folder, "build_corpus", record, check=False).split())
    assert summary.read_bytes() == after


def test_snakemake_schedules_only_after_a_job_has_ended(tmp_path):
    targets = [str(RESULTS / name) for name in ("corpus/overlap.tsv", "base", "tokens/en-de/train.safetensors")]
    output = snakemake(make_copy(tmp_path / "copy"), "--verbose", *targets)
    assert "4 of 4 steps (100%) done" in output
    assert output.count("Ready jobs:") <= 4


@pytest.mark.parametrize(
    ("visible", "given", "requested", "available"),
    [("", None, 0, None), ("0,1", None, 1, 2), ("0,1", "0", 0, None), ("", "1", 1, 1)],  # on a cluster, `given` is set
)
def test_jobs_request_available_gpus_and_keep_user_variables(
    tmp_path, monkeypatch, visible, given, requested, available
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    if given:
        monkeypatch.setenv("SKIPCLM_GPUS", given)
    folder = make_copy(tmp_path / "copy")
    with open(folder / "Snakefile", "a", encoding="utf-8") as file:
        file.write("\nfor resources in (rules.prepare_base.rule.resources, workflow.global_resources):\n")
        file.write("    print('gpu:', resources.get('gpu').value)\n")
        file.write("print('spins:', os.environ['GOMP_SPINCOUNT'])\n")
    output = snakemake(folder, "--dry-run", str(RESULTS / "base"))
    assert re.findall("gpu: (.*)", output) == [str(requested), str(available)]
    assert "spins: 5\n" in output


def test_no_job_before_the_selection_reads_the_test_split(finished):
    """Check all input files of the jobs before best.json, as listed in Snakemake's own summary."""
    summary = snakemake(finished, "--detailed-summary", str(RESULTS / "grid/best.json"))
    jobs = list(csv.DictReader(summary[summary.index("output_file") :].splitlines(), delimiter="\t"))
    inputs = {path for job in jobs for path in (job["input-file(s)"] or "").split(",")}
    assert any(path.endswith("tokens/en-de/valid.safetensors") for path in inputs)  # the summary lists splits
    assert not [path for path in inputs if Path(path).name.startswith("test")]


@pytest.mark.parametrize(
    ("german", "message"),
    [
        (b"Eins.\nZw\xf6lf\n", "de.txt, line 2: expected UTF-8, found the byte 0xf6"),
        (b"Eins.\n", "expected the same number of lines on both sides, found 16 in"),
    ],
    ids=["not UTF-8", "a line lost"],
)
def test_unusable_text_fails_the_corpus_job(tmp_path, german, message):
    folder = make_copy(tmp_path)
    (folder / "held_out/de.txt").write_bytes(german)
    output = snakemake(folder, check=False)
    assert message in output
    assert "1 of 1 steps" not in output
    assert [path.name for path in (folder / "results").rglob("*") if path.is_file()] == ["config.json"]


def test_corpus_folder_may_have_an_odd_name(copied):
    odd = copied / "a folder (of 'mine') #1, größer"
    odd.mkdir()
    (copied / "held_out").rename(odd / "held_out")
    with editing(copied) as config:
        config["corpus"]["folder"] = odd.name
    snakemake(copied, str(RESULTS / "corpus/summary.tsv"))


def test_checkout_and_environment_may_have_an_odd_name(tmp_path, monkeypatch):
    folder = make_copy(tmp_path / '-dash it\'s a "test" $HOME %s & größer `tick`;\\back*')
    venv.create(folder / ".venv")
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder / ".venv")}))
    (packages / "ours.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    monkeypatch.setattr(sys, "executable", str(folder / ".venv/bin/python"))
    snakemake(folder, str(RESULTS / "base"))
    assert (folder / RESULTS / "base/config.json").exists()


def test_checkout_with_braces_in_its_path_is_refused(tmp_path):
    output = snakemake(make_copy(tmp_path / "{pair}"), "--dry-run", check=False)
    assert "expected a folder of the workflow without braces" in output


def test_comet_environment_is_expected_next_to_the_snakefile(copied, tmp_path):
    (copied / ".venv-comet").mkdir()
    (copied / ".venv-comet/installed").touch()
    with editing(copied) as config:
        config["evaluation"] |= {"metrics": ["bleu", "comet"], "selection_metric": "comet"}
        config["corpus"]["folder"] = str(copied)
    work = tmp_path / "work"
    work.mkdir()
    (work / "src").symlink_to(copied / "src")
    options = ["--snakefile", str(copied / "Snakefile"), "--configfile", str(copied / "tiny.yaml")]
    assert "score_neural" in planned(work, *options)


COMET = REPO / ".venv-comet"


@pytest.mark.comet
@pytest.mark.skipif(not (COMET / "installed").exists(), reason="make comet builds the environment for it")
def test_comet_runs_in_its_own_environment_and_scores_appear_in_the_tables(copied):
    (copied / ".venv-comet").symlink_to(COMET)
    python, checkpoint = str(COMET / "bin/python"), copied / "checkpoint"
    subprocess.run([python, REPO / "tests/make_comet_checkpoint.py", checkpoint], check=True, capture_output=True)
    with editing(copied) as config:
        config["evaluation"] |= {"metrics": ["bleu", "comet", "xcomet"]}
        config["evaluation"]["neural"] = {"comet": "checkpoint", "xcomet": "no/model"}
    snakemake(copied, str(RESULTS / "ablation/scores.tsv"))
    table = rows(copied / RESULTS / "ablation/scores.tsv")
    comet = {(row["variant"], row["pair"]): row for row in table if row["metric"] == "comet"}
    assert len(comet) == 3 * 2
    assert all(row["signature"].startswith("model:checkpoint|version:") for row in comet.values())
    record = json.loads((copied / RESULTS / "ablation/en-de/base/seed1/test.comet.json").read_text(encoding="utf-8"))
    assert float(comet["base", "en-de"]["value"]) == pytest.approx(100 * sum(record["segments"]) / 15)
    absent = [row for row in table if row["metric"] == "xcomet"]
    assert {(row["value"], row["status"]) for row in absent} == {("", "ok"), ("", "untrained")}
    assert all("no/model cannot be loaded" in row["note"] for row in absent)
    markdown = (copied / RESULTS / "ablation/table.md").read_text(encoding="utf-8")
    assert "XCOMET was not run: no/model cannot be loaded" in markdown
