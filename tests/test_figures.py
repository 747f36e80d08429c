"""Figures hold the texts they should, repeat byte for byte, and survive odd input."""

from itertools import product
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from skipclm import figures, selection, tables
from skipclm.errors import InputError

NAN = float("nan")


def _grid(contrastive, sources, targets, seeds=(1,), diverged=()):
    """Return grid scores whose BLEU is 10 + contrastive + source / 10 + target / 100, plus the seed."""
    rows = []
    for c, s, t, seed in product(contrastive, sources, targets, seeds):
        lost = (c, s, t) in diverged
        value = NAN if lost else 10 + c + s / 10 + t / 100 + seed
        rows.append(("en-de", c, s, t, seed, "diverged" if lost else "ok", value))
    return pd.DataFrame(rows, columns=["pair", *selection.TRIPLE, "seed", "status", "bleu"])


def _texts(stem):
    """Check both files of a figure and return the texts in the .svg."""
    assert stem.with_name(f"{stem.name}.png").read_bytes().startswith(b"\x89PNG")
    root = ElementTree.parse(stem.with_name(f"{stem.name}.svg")).getroot()
    return ["".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")]


def _history(steps=120, **columns):
    step = np.arange(1, steps + 1)
    return pd.DataFrame({"step": step, "loss": 5 / step, **columns})


def _ablation(seeds=3, lost=()):
    rows = [
        (pair, variant, seed, "bleu", NAN if (pair, variant) in lost else base + seed, "sig", "ok")
        for pair in ("en-de", "en-tr")
        for variant, base in (("full", 20.0), ("skip_only", 15.0), ("base", 5.0))
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows, columns=["pair", "variant", "seed", "metric", "value", "signature", "status"])


def test_heatmap_shows_every_cell(tmp_path):
    scores = _grid([2, 3], [1, 2], [4, 5, 6], diverged=[(2, 1, 6)])
    figures.grid_heatmaps(scores, tmp_path / "grid.en-de", "en-de")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.en-de.png", "grid.en-de.svg"]
    texts = _texts(tmp_path / "grid.en-de")
    assert {"contrastive layer 2", "contrastive layer 3", "validation BLEU"} <= set(texts)
    assert {"skip target (layer)", "skip source (layer)"} <= set(texts)
    assert texts.count("div.") == 1
    assert texts.count("13.1") + texts.count("14.1") + texts.count("14.2") >= 5
    assert "en-de, best 14.3 (framed): contrastive 3, skip 2 → 6" in texts


def test_heatmap_of_many_cells_leaves_the_numbers_out(tmp_path):
    layers = range(1, 13)
    figures.grid_heatmaps(_grid(range(1, 6), layers, layers), tmp_path / "grid", "en-de")
    texts = _texts(tmp_path / "grid")
    assert sum(text.startswith("contrastive layer") for text in texts) == 5
    assert "13.4" not in texts


@pytest.mark.parametrize("draw", [figures.grid_heatmaps, figures.grid_curve])
@pytest.mark.parametrize(
    "scores",
    [
        _grid([3], [1], [4]),
        _grid([3, 4], [1, 2], [4], seeds=(1, 2)),
        _grid([3, 4], [1], [4], seeds=(1, 2)),
        _grid([3], [1, 2], [4], diverged=[(3, 1, 4)]),
    ],
    ids=["one cell", "one target", "one source", "one diverged"],
)
def test_small_grids(tmp_path, draw, scores):
    draw(scores, tmp_path / "figure", "en-de")
    assert any(text.startswith("en-de, best") for text in _texts(tmp_path / "figure"))


@pytest.mark.parametrize("draw", [figures.grid_heatmaps, figures.grid_curve])
def test_grid_without_a_usable_cell(tmp_path, draw):
    draw(_grid([3], [1], [4, 5], diverged=[(3, 1, 4), (3, 1, 5)]), tmp_path / "figure", "en-de")
    assert "en-de: all cells diverged" in _texts(tmp_path / "figure")


@pytest.mark.parametrize("draw", [figures.grid_heatmaps, figures.grid_curve])
def test_unknown_pair_or_metric(tmp_path, draw):
    with pytest.raises(InputError, match="bleu of en-tr"):
        draw(_grid([3], [1], [4]), tmp_path / "figure", "en-tr")
    with pytest.raises(InputError, match="chrf of en-de"):
        draw(_grid([3], [1], [4]), tmp_path / "figure", "en-de", "chrf")
    assert not list(tmp_path.iterdir())


def test_curve_names_layers_and_sources(tmp_path):
    scores = _grid([2, 7], [1, 3], [4, 9], seeds=(1, 2), diverged=[(2, 1, 4)])
    figures.grid_curve(scores, tmp_path / "curve", "en-de")
    texts = _texts(tmp_path / "curve")
    assert {"contrastive layer", "7", "skip source", "3", "diverged", "skip target (layer)"} <= set(texts)
    assert "validation BLEU (bars: range of seeds)" in texts


def test_training_curves(tmp_path):
    rare = np.where(np.arange(120) % 40 == 39, 2.0, NAN)
    histories = {
        "full": _history(lm_loss=np.linspace(4, 2, 120), contrastive_loss=1.0, valid_loss=rare),
        "plain_run": _history(contrastive_loss=NAN),
    }
    figures.training_curves(histories, tmp_path / "loss")
    texts = _texts(tmp_path / "loss")
    assert {"LM loss (nats per token)", "contrastive loss (nats)", "full", "plain run", "validation"} <= set(texts)
    assert "training step (running mean of 2 points)" in texts


def test_training_curves_of_many_runs_and_of_one(tmp_path):
    many = {f"run{number}": _history() for number in range(12)}
    figures.training_curves(many, tmp_path / "many", highlight="run3")
    texts = _texts(tmp_path / "many")
    assert {"run3", "11 other runs"} <= set(texts)
    assert "contrastive loss (nats)" not in texts
    figures.training_curves({"only": _history(steps=1)}, tmp_path / "one")
    assert "only" in _texts(tmp_path / "one")
    with pytest.raises(InputError, match="Expected runX among the histories: run0, run1"):
        figures.training_curves(many, tmp_path / "wrong", highlight="runX")


def test_ablation_bars(tmp_path):
    scores = _ablation(lost=[("en-tr", "skip_only")])
    figures.ablation_bars(tables.summarise(scores), tmp_path / "bars", scores=scores)
    texts = _texts(tmp_path / "bars")
    assert {"en-de", "en-tr", "full", "skip only", "base", "21.0", "16.0", "6.0"} <= set(texts)
    assert texts.count("diverged") == 1
    assert "test BLEU, mean ± sd, dots: seeds" in texts


def test_ablation_bars_of_one_seed_and_of_none(tmp_path):
    figures.ablation_bars(tables.summarise(_ablation(seeds=1)), tmp_path / "one")
    assert "test BLEU" in _texts(tmp_path / "one")
    lost = _ablation(lost=list(product(("en-de", "en-tr"), ("full", "skip_only", "base"))))
    figures.ablation_bars(tables.summarise(lost), tmp_path / "none")
    assert _texts(tmp_path / "none").count("diverged") == 6
    with pytest.raises(InputError, match="Expected chrf"):
        figures.ablation_bars(tables.summarise(lost), tmp_path / "wrong", "chrf")


def test_drawn_twice_is_the_same_file(tmp_path):
    grid, ablation = _grid([2, 3], [1, 2], [4, 5], diverged=[(2, 1, 4)]), _ablation()
    for time in ("first", "second"):
        figures.grid_heatmaps(grid, tmp_path / time / "heat", "en-de")
        figures.grid_curve(grid, tmp_path / time / "curve", "en-de")
        figures.training_curves({"a": _history()}, tmp_path / time / "loss")
        figures.ablation_bars(tables.summarise(ablation), tmp_path / time / "bars", scores=ablation)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert len(files) == 8
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name
