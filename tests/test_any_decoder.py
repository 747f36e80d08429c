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
    tiny |= {"pairs": ["en-de"], "model": {"source": "models/small"}, "grid": {"skip_target": ["1.0"]}}
    tiny["grid"]["keep_weights"] = True
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny), encoding="utf-8")
    snakemake(folder, str(RESULTS / "grid/best.json"), "--configfile", "any.yaml", "tiny.yaml")
    (row,) = rows(folder / RESULTS / "grid/scores.tsv")
    assert (row["status"], row["skip_source"], row["skip_target"]) == ("ok", "1", "4")
    saved = json.loads((folder / RESULTS / "grid/en-de/c1-s1-t4/seed1/model/config.json").read_text(encoding="utf-8"))
    assert (saved["model_type"], saved["base"]["model_type"]) == ("skipclm", "llama")
