"""Which jobs run again after a change, and which do not."""

import json
import os
import re
import shutil

import pytest
from workflows import RESULTS, TINY, compare, configure, editing, make_copy, planned, results, rows, snakemake

pytestmark = pytest.mark.slow


def test_new_cell_trains_only_that_cell(copied):
    configure(copied, skip_source=[1, 2], constraints=["skip_source < skip_target"])
    output = snakemake(copied, str(RESULTS / "grid/scores.tsv"))
    assert re.findall(r"Train (en-\w+ \S+) seed", output) == ["en-de c1-s2-t3"]
    assert len(rows(copied / RESULTS / "grid/scores.tsv")) == 3


def test_changed_choice_of_layers_retrains_the_variants_that_use_it(copied):
    scores = copied / RESULTS / "grid/en-de/c1-s1-t2/seed1/valid.scores.json"
    other_scores = copied / RESULTS / "grid/en-de/c1-s1-t3/seed1/valid.scores.json"
    best = json.loads((copied / RESULTS / "grid/best.json").read_text(encoding="utf-8"))["en-de"]["skip_target"]
    loser = other_scores if best == 2 else scores
    result = json.loads(loser.read_text(encoding="utf-8"))
    result["metrics"]["bleu"]["value"] = 99.0
    loser.write_text(json.dumps(result), encoding="utf-8")
    output = snakemake(copied, *[str(RESULTS / f"ablation/{pair}/full/seed1/training.json") for pair in TINY["pairs"]])
    assert set(re.findall(r"Train (en-\w+ \S+) seed", output)) == {"en-de full", "en-zh full"}
    record = json.loads((copied / RESULTS / "ablation/en-zh/full/seed1/training.json").read_text(encoding="utf-8"))
    assert record["settings"]["skip"]["target"] == 5 - best


def test_edited_metric_trains_and_translates_nothing(copied):
    with open(copied / "src/skipclm/evaluation/metrics.py", "a", encoding="utf-8") as file:
        file.write("\nEDITED = 1\n")
    output = snakemake(copied, str(RESULTS / "ablation/scores.tsv"))
    assert len(re.findall(r"^Job \d+: Score ", output, re.MULTILINE)) == 2 + 2 * 3
    assert not re.findall(r"^Job \d+: (?:Build|Prepare|Encode|Train|Translate) ", output, re.MULTILINE)


def test_changed_list_of_metrics_only_scores_again(copied):
    with editing(copied) as config:
        config["evaluation"]["metrics"] = ["bleu", "chrf", "ter", "rougel"]
    jobs = planned(copied)
    assert jobs["score"] == 2 + 2 * 2  # those of `full` are planned after the layers are chosen
    assert (
        not {"build_corpus", "prepare_base", "encode_split", "train_cell", "train_variant", "translate"} & jobs.keys()
    )


def test_reverse_pair_and_new_test_set_train_only_new_runs(copied):
    with editing(copied) as config:
        config["pairs"].append("de-en")
        config["corpus"]["sources"]["second"] = {"kind": "demo", "size": 20, "seed": 5}
        config["corpus"]["more_tests"] = {"second": {"source": "second", "size": 10}}
        config["ablation"]["pairs"] = ["en-de", "de-en"]
        config["ablation"]["variants"]["full"] = None
    before, tables = rows(copied / RESULTS / "ablation/scores.tsv"), str(RESULTS / "ablation/table.tsv")
    jobs = re.findall(r"^Job \d+: (.*)", snakemake(copied, tables), re.MULTILINE)
    assert not [job for job in jobs if re.match("Build|Prepare|Train en|Translate en-.. (valid|test)", job)]
    assert [job for job in jobs if job.startswith("Train")] == ["Train de-en finetune seed 1"]
    after = rows(copied / RESULTS / "ablation/scores.tsv")
    unchanged = [row for row in after if row["pair"] == "en-de" and row["split"] == "test"]
    assert unchanged == [row for row in before if row["pair"] == "en-de" and row["variant"] != "full"]
    table = rows(copied / RESULTS / "ablation/table.tsv")
    assert {(row["pair"], row["split"]) for row in table} == {
        (pair, split) for pair in config["ablation"]["pairs"] for split in ("test", "second")
    }
    assert planned(copied, tables) == {}


def test_ablation_can_be_restricted_to_some_pairs(copied):
    with editing(copied) as config:
        config["ablation"]["pairs"] = ["en-zh"]
    assert "Train" not in snakemake(copied)
    assert {row["pair"] for row in rows(copied / RESULTS / "ablation/scores.tsv")} == {"en-zh"}
    table = (copied / RESULTS / "ablation/table.md").read_text(encoding="utf-8")
    assert "en-zh BLEU" in table
    assert "en-de BLEU" not in table
    assert planned(copied) == {}


def test_removed_run_is_made_again(copied, finished):
    shutil.rmtree(copied / RESULTS / "ablation/en-zh/finetune/seed1")
    shutil.rmtree(copied / RESULTS / "grid/en-de/c1-s1-t3/seed1")
    output = snakemake(copied)
    assert sorted(re.findall(r"Train (en-\w+ \S+) seed", output)) == ["en-de c1-s1-t3", "en-zh finetune"]
    compare(results(copied), results(finished))


@pytest.mark.parametrize(
    ("module", "reruns", "skips"),
    [
        (
            "training/fine_tuning",
            {"train_cell", "train_variant", "translate", "score"},
            {"build_corpus", "prepare_base"},
        ),
        (
            "evaluation/decoding",
            {"translate", "score"},
            {"prepare_base", "encode_split", "train_cell", "train_variant"},
        ),
        ("data/corpus", {"build_corpus", "encode_split", "train_cell"}, set()),
        ("report/figures", {"plot_grid", "plot_ablation"}, {"score", "collect_grid", "train_cell"}),
    ],
)
def test_edited_module_reruns_its_stage_and_later_stages(copied, module, reruns, skips):
    path = copied / f"src/skipclm/{module}.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}\nEDITED = 1\n", encoding="utf-8")
    jobs = planned(copied)
    assert reruns <= jobs.keys()
    assert not skips & jobs.keys()


def test_edited_grammar_of_the_built_in_corpus_reruns_nothing_on_other_text(tmp_path):
    folder, corpus = make_copy(tmp_path / "copy"), str(RESULTS / "corpus/summary.tsv")
    with editing(folder) as config:
        config["corpus"]["train"] = {"source": "held_out", "size": None}
        config["corpus"]["valid"]["size"] = config["corpus"]["test"]["size"] = 3
        config["corpus"]["test"]["source"] = None
    snakemake(folder, corpus)
    for module, jobs in (("demo/turkish", {}), ("data/corpus", {"build_corpus": 1})):
        with open(folder / f"src/skipclm/{module}.py", "a", encoding="utf-8") as file:
            file.write("\nEDITED = 1\n")
        assert planned(folder, corpus) == jobs


def test_edited_comments_rerun_nothing(copied):
    for module in ("errors", "training/fine_tuning", "evaluation/decoding", "data/corpus", "report/figures"):
        path = copied / f"src/skipclm/{module}.py"
        path.write_text(f"# A comment.\n{path.read_text(encoding='utf-8')}\n\n# Another.\n", encoding="utf-8")
    assert planned(copied) == {}


def test_finished_translation_of_a_dead_cluster_job_is_reused(copied):
    run = copied / RESULTS / "ablation/en-de/full/seed1"
    hypotheses, generation = run / "test.hypotheses.txt", run / "test.generation.json"
    before, target = hypotheses.read_bytes(), str(hypotheses.relative_to(copied))
    (run / "test.scores.json").unlink()  # otherwise the translation would not be stored
    for was_done in (False, True):
        hypotheses.unlink()
        generation.unlink()
        snakemake(copied, target)
        log = (copied / "logs/tiny/ablation/en-de/full/seed1/test.translate.log").read_text(encoding="utf-8")
        assert ("was done before" in log) == was_done
        assert hypotheses.read_bytes() == before


def test_default_value_in_an_overlay_reruns_nothing(copied):
    with editing(copied) as config:
        config["corpus"] = dict(reversed(config["corpus"].items())) | {"seed": 1}
        config["corpus"]["cleaning"] = {"max_ratio": 4}  # 4.0 in config.yaml; the schema allows both
        config["languages"] = {"zh": {"bleu_tokenizer": "zh"}}
        config["ablation"]["variants"]["finetune"] = {"skip": {"enabled": False}}
        config["training"] = {"warmup": 0.05, "max_gradient_norm": 1} | config["training"]
    assert planned(copied) == {}


def test_text_replaced_by_an_older_file_reruns_the_corpus(copied):
    path = copied / "held_out/de.txt"
    date = path.stat().st_mtime
    path.write_text("Ganz anders.\n" * 15, encoding="utf-8")
    os.utime(path, (date - 1e6, date - 1e6))
    assert "build_corpus" in planned(copied)


def test_touched_module_reruns_nothing(copied):
    for path in [*copied.glob("src/skipclm/*.py"), *copied.glob("workflow/scripts/*.py")]:
        path.touch()
    assert planned(copied) == {}


def test_grid_weights_are_removed_after_scoring_and_not_needed_again(copied):
    configure(copied, keep_weights=False)
    shutil.rmtree(copied / RESULTS / "grid")
    run = copied / RESULTS / "grid/en-de/c1-s1-t2/seed1"
    snakemake(copied, str((run / "valid.scores.json").relative_to(copied)))
    assert not (run / "model").exists()  # immediately, not after all cells
    assert (run / "valid.hypotheses.txt").exists()
    snakemake(copied, str(RESULTS / "grid/best.json"))
    with open(copied / "src/skipclm/evaluation/metrics.py", "a", encoding="utf-8") as file:
        file.write("\nEDITED = 1\n")
    jobs = planned(copied, str(RESULTS / "grid/best.json"))
    assert jobs["score"] == 2
    assert not {"train_cell", "translate"} & jobs.keys()
    configure(copied, keep_weights=False, skip_source=[1, 2], constraints=["skip_source < skip_target"])
    assert planned(copied, str(RESULTS / "grid/best.json"))["train_cell"] == 1


def _tables_and_figures(folder):
    """Return the tables and figures of a finished experiment, without those of the corpus and of single runs."""
    patterns = ("report.txt", "figures/*", "grid/*.*", "ablation/*.*", "ablation/*/*.translations.tsv", "*/overlap.tsv")
    return [path for pattern in patterns for path in sorted((folder / RESULTS).glob(pattern))]


def test_removed_tables_and_figures_are_made_again_and_nothing_else(copied, finished):
    removed = _tables_and_figures(copied)
    assert len(removed) >= 25
    for path in removed:
        path.unlink()
    output = snakemake(copied)
    assert not re.findall(r"^Job \d+: (?:Build|Prepare|Encode|Train|Translate|Score) ", output, re.MULTILINE)
    compare(results(copied), results(finished))


@pytest.mark.parametrize(
    "rules",
    [  # no job of a group depends on another one
        {
            "figures/grid_curve.en-de.png": "plot_grid",
            "figures/ablation.test.chrf.png": "plot_ablation",
            "ablation/table.html": "collect_ablation",
            "ablation/en-zh/test.translations.tsv": "show_translations",
            "corpus/overlap.tsv": "measure_overlap",
        },
        {"ablation/significance.tsv": "compare_variants", "grid/optimism.tsv": "compare_cells"},
        {"grid/scores.tsv": "collect_grid"},
    ],
    ids=["last", "compared", "collected"],
)
def test_removed_files_are_planned(copied, rules):
    for name in rules:
        (copied / RESULTS / name).unlink()
    assert set(rules.values()) <= planned(copied).keys()
