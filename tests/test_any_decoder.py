"""Run the complete workflow with a decoder of another architecture; the tests of models cover more of them."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml
from workflows import REPO, RESULTS, TINY, make_copy, rows, snakemake

pytestmark = pytest.mark.slow


def test_any_decoder_in_a_folder_passes_through_the_workflow(tmp_path):
    folder = make_copy(tmp_path)
    sizes = ["--layers", "4", "--width", "16", "--heads", "2", "--vocabulary", "600"]
    make = [sys.executable, "-c", "from skipclm.cli import main; main()", "random-model", "llama", "models/small"]
    subprocess.run(make + sizes, cwd=folder, check=True, env=os.environ | {"PYTHONPATH": str(folder / "src")})
    shutil.copy(REPO / "configs/any_decoder.yaml", folder / "any.yaml")
    tiny = {key: TINY[key] for key in ("experiment", "corpus", "skip", "training", "evaluation")}
    tiny |= {"pairs": ["en-de"], "model": {"source": "models/small"}, "grid": {"skip_target": ["1.0"], "seeds": [1]}}
    tiny["ablation"] = {
        "seeds": [2],
        "variants": dict.fromkeys(("contrastive_only", "skip_only", "finetune")),
        "baseline": None,
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny), encoding="utf-8")
    snakemake(folder, str(RESULTS / "ablation/scores.tsv"), "--configfile", "any.yaml", "tiny.yaml")
    table = rows(folder / RESULTS / "ablation/scores.tsv")
    assert {row["status"] for row in table} == {"ok", "untrained"}
    saved = json.loads((folder / RESULTS / "ablation/en-de/full/seed2/model/config.json").read_text(encoding="utf-8"))
    assert (saved["model_type"], saved["base"]["model_type"]) == ("skipclm", "llama")
