"""The whole graph on a tiny corpus: what it leaves, what it runs again, what can reach the selection."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from skipclm import demo

REPO = Path(__file__).parents[1]
PARTS = ["Snakefile", "config.yaml", "src", "workflow", "resources", "profiles", "envs"]
TINY = {
    "experiment": "tiny",
    "pairs": ["en-de", "en-zh"],
    "corpus": {
        "sources": {"demo": {"size": 300}, "held_out": {"kind": "lines", "path": "held_out/{language}.txt"}},
        "valid": {"size": 12},
        "test": {"source": "held_out", "size": 15},
    },
    "model": {"scratch": {"layers": 3, "width": 16, "heads": 2, "vocabulary": 600, "steps": 4, "batch_tokens": 256}},
    "skip": {"warmup_steps": 2},
    "training": {"steps": 4, "batch_size": 8, "log_every": 2, "validations": 2},
    "grid": {"seeds": [1], "contrastive_layer": [1], "skip_source": [1], "skip_target": [2, 3], "keep_weights": True},
    "ablation": {"seeds": [1], "variants": {"contrastive_only": None, "skip_only": None}},
    "evaluation": {"length_ratio": 0, "length_extra": 8},
}
RESULTS = Path("results/tiny")

pytestmark = pytest.mark.slow


def snakemake(folder, *arguments, check=True):
    """Run Snakemake in a copy of the repository, with the copy's own package."""
    configs = [] if "--configfile" in arguments else ["--configfile", "tiny.yaml"]
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments, *configs]
    environment = os.environ | {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert not check or done.returncode == 0, output
    return output


def planned(folder, *arguments):
    """Return how many jobs of each rule a dry run plans."""
    output = snakemake(folder, "--dry-run", *arguments)
    table = output.split("Job stats:")[-1].split("total")[0] if "Job stats:" in output else ""
    return {rule: int(count) for rule, count in re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE)}


def configure(folder, **grid):
    """Write the tiny configuration, with changes of its grid."""
    config = TINY | {"grid": TINY["grid"] | grid}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def make_copy(folder):
    for name in PARTS:
        place = REPO / name
        copy = shutil.copytree if place.is_dir() else shutil.copy
        copy(place, folder / name)
    configure(folder)
    demo.write_corpus(folder / "held_out", count=15, seed=99)
    for path in (folder / "held_out").iterdir():
        path.rename(path.with_name(f"{path.suffix[1:]}.txt"))
    return folder


def rows(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which the workflow has run once."""
    folder = make_copy(tmp_path_factory.mktemp("finished"))
    snakemake(folder)
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of it that a test may change; modification times stay."""
    shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


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
    found = {(row["pair"], row["variant"], row["seed"], row["metric"]) for row in table}
    variants = ["full", "finetune", "base"]
    metrics = ("bleu", "chrf", "empty", "copied", "wrong_language", "looping", "length_ratio", "cut")
    assert found == {(p, v, "1", m) for p in TINY["pairs"] for v in variants for m in metrics}
    assert len(found) == len(table)
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


def test_figures_tables_and_report_are_there(finished):
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


def test_trained_models_are_ordinary_folders_and_say_how_they_were_made(finished):
    run = finished / RESULTS / "ablation/en-de/full/seed1"
    record = json.loads((run / "model/skipclm.json").read_text(encoding="utf-8"))
    best = json.loads((finished / RESULTS / "grid/best.json").read_text(encoding="utf-8"))["en-de"]
    assert record["settings"]["skip"]["target"] == best["skip_target"]
    assert json.loads((run / "model/config.json").read_text(encoding="utf-8"))["model_type"] == "skipclm"
    assert {"commit", "versions", "machine", "train_seconds", "seed", "pair"} <= record.keys()


def test_a_second_run_has_nothing_to_do(finished):
    assert "Nothing to be done" in snakemake(finished)


def test_a_second_run_from_scratch_gives_the_same_scores(finished, tmp_path):
    again, names = make_copy(tmp_path), ("grid/scores.tsv", "ablation/scores.tsv")
    snakemake(again, *[str(RESULTS / name) for name in names])
    for name in names:
        one, two = (rows(folder / RESULTS / name) for folder in (finished, again))
        for row in one + two:
            row.pop("train_seconds", None)
        assert one == two


def test_no_job_before_the_selection_reads_the_test_split(finished):
    """Every file of the graph that leads to best.json, as Snakemake's own summary lists its jobs' inputs."""
    summary = snakemake(finished, "--detailed-summary", str(RESULTS / "grid/best.json"))
    jobs = list(csv.DictReader(summary[summary.index("output_file") :].splitlines(), delimiter="\t"))
    inputs = {path for job in jobs for path in (job["input-file(s)"] or "").split(",")}
    assert any(path.endswith("tokens/en-de/valid.safetensors") for path in inputs)  # the summary does list them
    assert not [path for path in inputs if Path(path).name.startswith("test")]


def test_another_cell_trains_that_cell_alone(copied):
    configure(copied, skip_source=[1, 2], constraints=["skip_source < skip_target"])
    output = snakemake(copied, str(RESULTS / "grid/scores.tsv"))
    assert re.findall(r"Train (en-\w+ \S+) seed", output) == ["en-de c1-s2-t3"]
    assert len(rows(copied / RESULTS / "grid/scores.tsv")) == 3


def test_another_pair_goes_through_the_ablation_at_the_layers_chosen(copied):
    config = yaml.safe_load((copied / "tiny.yaml").read_text(encoding="utf-8"))
    config["pairs"].append("en-tr")
    (copied / "tiny.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert planned(copied)["train_variant"] >= 2
    trained = RESULTS / "ablation/en-tr/full/seed1/training.json"
    snakemake(copied, str(trained))
    record = json.loads((copied / trained).read_text(encoding="utf-8"))
    best = json.loads((copied / RESULTS / "grid/best.json").read_text(encoding="utf-8"))["en-tr"]
    assert record["settings"]["contrastive"]["layer"] == best["contrastive_layer"]


def test_another_choice_trains_again_what_depends_on_it(copied):
    scores = copied / RESULTS / "grid/en-de/c1-s1-t2/seed1/valid.scores.json"
    other = copied / RESULTS / "grid/en-de/c1-s1-t3/seed1/valid.scores.json"
    best = json.loads((copied / RESULTS / "grid/best.json").read_text(encoding="utf-8"))["en-de"]["skip_target"]
    loser = other if best == 2 else scores
    result = json.loads(loser.read_text(encoding="utf-8"))
    result["metrics"]["bleu"]["value"] = 99.0
    loser.write_text(json.dumps(result), encoding="utf-8")
    output = snakemake(copied, *[str(RESULTS / f"ablation/{pair}/full/seed1/training.json") for pair in TINY["pairs"]])
    assert set(re.findall(r"Train (en-\w+ \S+) seed", output)) == {"en-de full", "en-zh full"}
    record = json.loads((copied / RESULTS / "ablation/en-zh/full/seed1/training.json").read_text(encoding="utf-8"))
    assert record["settings"]["skip"]["target"] == 5 - best


def test_a_new_metric_trains_and_translates_nothing(copied):
    with open(copied / "src/skipclm/metrics.py", "a", encoding="utf-8") as file:
        file.write("\n# edited\n")
    output = snakemake(copied, str(RESULTS / "ablation/scores.tsv"))
    assert len(re.findall(r"^Job \d+: Score ", output, re.MULTILINE)) == 2 + 2 * 3
    assert not re.findall(r"^Job \d+: (?:Build|Prepare|Encode|Train|Translate) ", output, re.MULTILINE)


def test_another_metric_scores_again_and_no_more(copied):
    config = yaml.safe_load((copied / "tiny.yaml").read_text(encoding="utf-8"))
    config["evaluation"]["metrics"] = ["bleu", "chrf", "ter", "rougel"]
    (copied / "tiny.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    jobs = planned(copied)
    assert jobs["score"] == 2 + 2 * 2  # and those of `full`, once the layers are chosen again
    assert (
        not {"build_corpus", "prepare_base", "encode_split", "train_cell", "train_variant", "translate"} & jobs.keys()
    )


def test_the_way_back_and_a_further_test_set_train_nothing_but_what_is_new(copied):
    config = yaml.safe_load((copied / "tiny.yaml").read_text(encoding="utf-8"))
    config["pairs"].append("de-en")
    config["corpus"]["sources"]["second"] = {"kind": "demo", "size": 20, "seed": 5}
    config["corpus"]["more_tests"] = {"second": {"source": "second", "size": 10}}
    (copied / "tiny.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    before = (copied / RESULTS / "ablation/scores.tsv").read_text(encoding="utf-8").splitlines()
    jobs = re.findall(r"^Job \d+: (.*)", snakemake(copied), re.MULTILINE)
    assert not [job for job in jobs if re.match("Build|Prepare|Train en|Translate en-.. (valid|test)", job)]
    assert sorted(job for job in jobs if job.startswith("Train")) == [
        "Train de-en finetune seed 1",
        "Train de-en full seed 1",
    ]
    after = (copied / RESULTS / "ablation/scores.tsv").read_text(encoding="utf-8").splitlines()
    assert set(before) < set(after)
    table = rows(copied / RESULTS / "ablation/table.tsv")
    assert {(row["pair"], row["split"]) for row in table} == {
        (pair, split) for pair in config["pairs"] for split in ("test", "second")
    }
    assert planned(copied) == {}


def test_translations_of_another_run_are_not_scored(copied):
    run = copied / RESULTS / "ablation/en-de"
    shutil.copyfile(run / "base/seed1/test.hypotheses.txt", run / "full/seed1/test.hypotheses.txt")
    output = snakemake(copied, check=False)
    log = (copied / "logs/tiny/ablation/en-de/full/seed1/test.score.log").read_text(encoding="utf-8")
    assert "expected the 15 translations that this run made" in log
    assert "Error in rule score" in output


@pytest.mark.parametrize(
    ("module", "reruns", "spares"),
    [
        ("training", {"train_cell", "train_variant", "translate", "score"}, {"build_corpus", "prepare_base"}),
        ("translation", {"translate", "score"}, {"prepare_base", "encode_split", "train_cell", "train_variant"}),
        ("corpus", {"build_corpus", "encode_split", "train_cell"}, set()),
        ("figures", {"plot_grid", "plot_ablation"}, {"score", "collect_grid", "train_cell"}),
    ],
)
def test_an_edited_module_reruns_its_stage_and_what_follows(copied, module, reruns, spares):
    with open(copied / f"src/skipclm/{module}.py", "a", encoding="utf-8") as file:
        file.write("\n# edited\n")
    jobs = planned(copied)
    assert reruns <= jobs.keys()
    assert not spares & jobs.keys()


def test_a_default_written_down_reruns_nothing(copied):
    config = yaml.safe_load((copied / "tiny.yaml").read_text(encoding="utf-8"))
    config["corpus"] = dict(reversed(config["corpus"].items())) | {"seed": 1}
    config["training"] = {"warmup": 0.05} | config["training"]
    (copied / "tiny.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    assert planned(copied) == {}


def test_text_that_is_replaced_by_an_older_file_is_noticed(copied):
    path = copied / "held_out/de.txt"
    date = path.stat().st_mtime
    path.write_text("Ganz anders.\n" * 15, encoding="utf-8")
    os.utime(path, (date - 1e6, date - 1e6))
    assert "build_corpus" in planned(copied)


def test_folders_may_have_odd_names(copied):
    odd = copied / "a folder (of 'mine') #1, größer"
    odd.mkdir()
    (copied / "held_out").rename(odd / "held_out")
    config = yaml.safe_load((copied / "tiny.yaml").read_text(encoding="utf-8"))
    config["corpus"]["folder"] = odd.name
    (copied / "tiny.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    snakemake(copied, str(RESULTS / "corpus/summary.tsv"))


def test_a_touched_module_reruns_nothing(copied):
    for path in [*copied.glob("src/skipclm/*.py"), *copied.glob("workflow/scripts/*.py")]:
        path.touch()
    assert planned(copied) == {}


def test_a_diverged_cell_is_a_row_and_not_the_end(copied):
    record = copied / RESULTS / "grid/en-de/c1-s1-t2/seed1/training.json"
    facts = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps(facts | {"status": "diverged", "train_loss": None}), encoding="utf-8")
    snakemake(copied, *[str(RESULTS / name) for name in ("grid/cells.tsv", "figures/grid_heatmap.en-de.svg")])
    row = rows(copied / RESULTS / "grid/scores.tsv")[0]
    assert (row["status"], row["bleu"], row["chrf"]) == ("diverged", "", "")
    best = json.loads((copied / RESULTS / "grid/best.json").read_text(encoding="utf-8"))["en-de"]
    assert best["skip_target"] == 3
    assert len(best["diverged"]) == 1


def test_a_variant_that_diverges_is_a_gap_in_tables_and_figures(copied):
    config = yaml.safe_load((copied / "tiny.yaml").read_text(encoding="utf-8"))
    config["ablation"]["variants"]["wild"] = {"training": {"learning_rate": 1e20}}
    (copied / "tiny.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    snakemake(copied, *[str(RESULTS / name) for name in ("ablation/table.md", "figures/ablation.test.bleu.svg")])
    wild = [row for row in rows(copied / RESULTS / "ablation/scores.tsv") if row["variant"] == "wild"]
    assert {(row["status"], row["value"]) for row in wild} == {("diverged", "")}
    assert "diverged" in (copied / RESULTS / "ablation/table.md").read_text(encoding="utf-8")
    assert "diverged" in (copied / RESULTS / "figures/ablation.test.bleu.svg").read_text(encoding="utf-8")


def test_a_run_that_fails_for_good_is_a_row_with_its_reason_and_the_rest_goes_on(copied):
    """One training kills itself each time, and one raises an error."""
    config = yaml.safe_load((copied / "tiny.yaml").read_text(encoding="utf-8"))
    config["grid"] |= {"skip_target": [2, 3], "seeds": [1, 2], "allow_missing": 0.5}
    config["ablation"]["variants"] |= {"other": {"training": {"steps": 5}}}
    config["execution"] = {"attempts": 2}
    (copied / "tiny.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with open(copied / "src/skipclm/training_job.py", "a", encoding="utf-8") as file:
        file.write(BREAKS)
    output = snakemake(copied)
    assert output.count("Trying to restart job") == 4
    grid = {(row["skip_target"], row["seed"]): row for row in rows(copied / RESULTS / "grid/scores.tsv")}
    assert {key: row["status"] for key, row in grid.items()} == {
        ("2", "1"): "ok",
        ("2", "2"): "failed",
        ("3", "1"): "ok",
        ("3", "2"): "ok",
    }
    assert grid["2", "2"]["reason"].startswith("killed, for lack of memory perhaps")
    best = json.loads((copied / RESULTS / "grid/best.json").read_text(encoding="utf-8"))["en-de"]
    assert (best["skip_target"], [cell["skip_target"] for cell in best["failed"]]) == (3, [2])
    failed = [row for row in rows(copied / RESULTS / "ablation/scores.tsv") if row["status"] == "failed"]
    assert {(row["pair"], row["variant"], row["value"]) for row in failed} == {("en-de", "other", "")}
    assert {row["note"] for row in failed} == {"RuntimeError: CUDA error: an illegal memory access was encountered"}
    assert "–: failed." in (copied / RESULTS / "ablation/table.md").read_text(encoding="utf-8")
    assert "of 1 more a run failed" in (copied / RESULTS / "report.txt").read_text(encoding="utf-8")
    assert planned(copied) == {}


BREAKS = """

_run = run


def run(job, failure=None):
    import os

    if "c1-s1-t2/seed2" in job.record and not failure:
        os.kill(os.getpid(), 9)
    if "en-de/other" in job.record and not failure:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\\nand more")
    _run(job, failure)
"""


@pytest.mark.parametrize(
    ("german", "message"),
    [
        (b"Eins.\nZw\xf6lf\n", "de.txt, line 2: expected UTF-8, found the byte 0xf6"),
        (b"Eins.\n", "expected as many lines on both sides, found 15 in"),
        (b"", "expected as many lines on both sides, found 15 in"),
        (b"\n" * 15, "corpus.sources.held_out: expected sentence pairs of en-de in lines:en.txt,de.txt, found none"),
    ],
    ids=["not UTF-8", "a line lost", "empty", "blank"],
)
def test_text_that_cannot_be_used_ends_in_the_corpus_job(tmp_path, german, message):
    folder = make_copy(tmp_path)
    (folder / "held_out/de.txt").write_bytes(german)
    output = snakemake(folder, check=False)
    assert message in output
    assert "1 of 1 steps" not in output
    assert not [path for path in (folder / "results").rglob("*") if path.is_file()]


def test_grid_weights_go_once_they_are_scored_and_are_not_missed(copied):
    configure(copied, keep_weights=False)
    shutil.rmtree(copied / RESULTS / "grid")
    snakemake(copied, str(RESULTS / "grid/best.json"))
    run = copied / RESULTS / "grid/en-de/c1-s1-t2/seed1"
    assert not (run / "model").exists()
    assert (run / "valid.hypotheses.txt").exists()
    with open(copied / "src/skipclm/metrics.py", "a", encoding="utf-8") as file:
        file.write("\n# edited\n")
    jobs = planned(copied, str(RESULTS / "grid/best.json"))
    assert jobs["score"] == 2
    assert not {"train_cell", "translate"} & jobs.keys()
    configure(copied, keep_weights=False, skip_source=[1, 2], constraints=["skip_source < skip_target"])
    assert planned(copied, str(RESULTS / "grid/best.json"))["train_cell"] == 1


def kill_once_it_has_saved(folder, run):
    """Kill a training, with -9, as soon as it has left a snapshot; return whether it was still there to be killed."""
    for _ in range(1200):
        time.sleep(0.05)
        if list((folder / run).glob("snapshots/*/seal.json")):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    is_training = b"train.py" in (process / "cmdline").read_bytes()
                    if is_training and (process / "cwd").resolve() == folder.resolve():
                        os.kill(int(process.name), signal.SIGKILL)
                        return True
    return False


def test_a_killed_training_goes_on_to_the_same_end(copied, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")  # of one job at a time, and free again when that was killed
    config = yaml.safe_load((copied / "tiny.yaml").read_text(encoding="utf-8"))
    config["ablation"]["variants"] |= {"long": {"training": {"steps": 150}, "contrastive": {"enabled": False}}}
    config["execution"] = {"snapshot_minutes": 0.001}
    (copied / "tiny.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    run = RESULTS / "ablation/en-de/long/seed1"
    target = str(run / "history.tsv")
    snakemake(copied, target)
    whole = [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in rows(copied / target)]
    weights = (copied / run / "model/model.safetensors").read_bytes()
    assert not (copied / run / "snapshots").exists()
    shutil.rmtree(copied / run)
    with ThreadPoolExecutor() as pool:
        killed = pool.submit(kill_once_it_has_saved, copied, run)
        snakemake(copied, target, check=False)
    assert killed.result()
    assert not (copied / target).exists()
    snakemake(copied, target)
    log = (copied / "logs/tiny/ablation/en-de/long/seed1/train.log").read_text(encoding="utf-8")
    assert "leased: device 7" in log
    assert "goes on from" in log
    assert [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in rows(copied / target)] == whole
    assert (copied / run / "model/model.safetensors").read_bytes() == weights
    assert sorted(path.name for path in (copied / run).iterdir()) == ["history.tsv", "model", "training.json"]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_any_decoder_in_a_folder_goes_through_the_whole_graph(tmp_path, architecture):
    folder = make_copy(tmp_path)
    sizes = ["--layers", "4", "--width", "16", "--heads", "2", "--vocabulary", "600"]
    make = [sys.executable, "-c", "from skipclm.cli import main; main()", "random-model", architecture, "models/small"]
    subprocess.run(make + sizes, cwd=folder, check=True, env=os.environ | {"PYTHONPATH": str(folder / "src")})
    shutil.copy(REPO / "configs/any_decoder.yaml", folder / "any.yaml")
    tiny = {key: TINY[key] for key in ("experiment", "corpus", "skip", "training", "evaluation")}
    tiny |= {"model": {"source": "models/small"}, "grid": {"skip_target": ["1.0"]}}
    tiny["ablation"] = {"variants": dict.fromkeys(("contrastive_only", "skip_only", "finetune")), "baseline": None}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny), encoding="utf-8")
    snakemake(folder, str(RESULTS / "ablation/scores.tsv"), "--configfile", "any.yaml", "tiny.yaml")
    table = rows(folder / RESULTS / "ablation/scores.tsv")
    assert {row["status"] for row in table} == {"ok", "untrained"}
    saved = json.loads((folder / RESULTS / "ablation/en-de/full/seed2/model/config.json").read_text(encoding="utf-8"))
    assert (saved["model_type"], saved["base"]["model_type"]) == ("skipclm", architecture)


COMET = REPO / ".venv-comet"


@pytest.mark.comet
@pytest.mark.skipif(not (COMET / "installed").exists(), reason="make comet builds the environment for it")
def test_comet_runs_in_its_own_environment_and_its_scores_land_in_the_tables(copied):
    (copied / ".venv-comet").symlink_to(COMET)
    python, checkpoint = str(COMET / "bin/python"), copied / "checkpoint"
    subprocess.run([python, REPO / "tests/make_comet_checkpoint.py", checkpoint], check=True, capture_output=True)
    config = yaml.safe_load((copied / "tiny.yaml").read_text(encoding="utf-8"))
    config["evaluation"] |= {"metrics": ["bleu", "comet", "xcomet"]}
    config["evaluation"]["neural"] = {"comet": "checkpoint", "xcomet": "no/model"}
    (copied / "tiny.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    snakemake(copied, str(RESULTS / "ablation/scores.tsv"))
    table = rows(copied / RESULTS / "ablation/scores.tsv")
    found = {(row["variant"], row["pair"]): row for row in table if row["metric"] == "comet"}
    assert len(found) == 3 * 2
    assert all(row["signature"].startswith("model:checkpoint|version:") for row in found.values())
    of_one = json.loads((copied / RESULTS / "ablation/en-de/base/seed1/test.comet.json").read_text(encoding="utf-8"))
    assert float(found["base", "en-de"]["value"]) == pytest.approx(100 * sum(of_one["segments"]) / 15)
    absent = [row for row in table if row["metric"] == "xcomet"]
    assert {(row["value"], row["status"]) for row in absent} == {("", "ok"), ("", "untrained")}
    assert all("no/model cannot be loaded" in row["note"] for row in absent)
    markdown = (copied / RESULTS / "ablation/table.md").read_text(encoding="utf-8")
    assert "XCOMET was not run: no/model cannot be loaded" in markdown
