"""Heat maps and curves of the grid."""

from itertools import product

import pandas as pd
import pytest

from skipclm.analysis import selection
from skipclm.errors import InputError
from skipclm.report import grid_figures

NAN = float("nan")


def _grid(contrastive, sources, targets, seeds=(1,), diverged=(), lost_to="diverged"):
    """Return grid scores whose BLEU is 10 + contrastive + source / 10 + target / 100, plus the seed."""
    rows = []
    for c, s, t, seed in product(contrastive, sources, targets, seeds):
        lost = (c, s, t) in diverged
        value = NAN if lost else 10 + c + s / 10 + t / 100 + seed
        rows.append(("en-de", c, s, t, seed, lost_to if lost else "ok", value))
    return pd.DataFrame(rows, columns=["pair", *selection.TRIPLE, "seed", "status", "bleu"])


def test_heatmap_shows_every_cell(tmp_path, texts_in):
    scores = _grid([2, 3], [1, 2], [4, 5, 6], diverged=[(2, 1, 6)])
    grid_figures.draw_heatmaps(scores, tmp_path / "grid.en-de", "en-de")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.en-de.png", "grid.en-de.svg"]
    texts = texts_in(tmp_path / "grid.en-de")
    assert {"contrastive layer 2", "contrastive layer 3", "validation BLEU"} <= set(texts)
    assert {"skip target (layer)", "skip source (layer)"} <= set(texts)
    assert texts.count("div.") == 1
    assert texts.count("13.1") + texts.count("14.1") + texts.count("14.2") >= 5
    assert "en-de, best 14.3 (framed): contrastive 3, skip 2 → 6" in texts


def test_cells_like_the_best_are_marked(tmp_path, texts_in):
    scores = _grid([2, 3], [1], [4, 6])
    compared = scores[["pair", *selection.TRIPLE]].assign(like_best=scores["contrastive_layer"] == 3)
    compared = pd.concat([compared, compared.assign(pair="en-tr", like_best=True)])
    grid_figures.draw_heatmaps(scores, tmp_path / "grid", "en-de", "bleu", compared)
    texts = texts_in(tmp_path / "grid")
    assert [text for text in texts if text.startswith("≈")] == [
        "≈14.1",
        "≈ cannot be told from the best (p ≥ 0.05, corrected)",
    ]
    assert {"13.1", "14.2"} <= set(texts)
    grid_figures.draw_heatmaps(scores, tmp_path / "none", "en-de", "bleu", compared.assign(like_best=False))
    assert not any(text.startswith("≈") for text in texts_in(tmp_path / "none"))


def test_close_cells_have_different_numbers(tmp_path, texts_in):
    grid_figures.draw_heatmaps(_grid([2], [1], [4, 5, 6]), tmp_path / "grid", "en-de")
    texts = texts_in(tmp_path / "grid")
    assert {"13.14", "13.15", "13.16", "en-de, best 13.16 (framed): contrastive 2, skip 1 → 6"} <= set(texts)


def test_heatmap_of_many_cells_has_no_numbers(tmp_path, texts_in):
    layers = range(1, 13)
    grid_figures.draw_heatmaps(_grid(range(1, 6), layers, layers), tmp_path / "grid", "en-de")
    texts = texts_in(tmp_path / "grid")
    assert sum(text.startswith("contrastive layer") for text in texts) == 5
    assert "13.4" not in texts


@pytest.mark.parametrize("draw", [grid_figures.draw_heatmaps, grid_figures.draw_curve])
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
def test_small_grids(tmp_path, texts_in, draw, scores):
    draw(scores, tmp_path / "figure", "en-de")
    assert any(text.startswith("en-de, best") for text in texts_in(tmp_path / "figure"))


@pytest.mark.parametrize("draw", [grid_figures.draw_heatmaps, grid_figures.draw_curve])
def test_grid_without_a_usable_cell(tmp_path, texts_in, draw):
    draw(_grid([3], [1], [4, 5], diverged=[(3, 1, 4), (3, 1, 5)]), tmp_path / "figure", "en-de")
    assert "en-de: all cells diverged" in texts_in(tmp_path / "figure")


@pytest.mark.parametrize("draw", [grid_figures.draw_heatmaps, grid_figures.draw_curve])
def test_unknown_pair_or_metric(tmp_path, draw):
    with pytest.raises(InputError, match="bleu of en-tr"):
        draw(_grid([3], [1], [4]), tmp_path / "figure", "en-tr")
    with pytest.raises(InputError, match="chrf of en-de"):
        draw(_grid([3], [1], [4]), tmp_path / "figure", "en-de", "chrf")
    assert not list(tmp_path.iterdir())


def test_curve_names_layers_and_sources(tmp_path, texts_in):
    scores = _grid([2, 7], [1, 3], [4, 9], seeds=(1, 2), diverged=[(2, 1, 4)])
    grid_figures.draw_curve(scores, tmp_path / "curve", "en-de")
    texts = texts_in(tmp_path / "curve")
    assert {"contrastive layer", "7", "skip source", "3", "diverged", "skip target (layer)"} <= set(texts)
    assert "validation BLEU (bars: range of seeds)" in texts


def test_failed_and_diverged_cells_are_distinguished(tmp_path, texts_in):
    scores = _grid([2], [1], [4, 5, 6], diverged=[(2, 1, 4)])
    failed = _grid([2], [1], [7], diverged=[(2, 1, 7)], lost_to="failed")
    grid_figures.draw_heatmaps(pd.concat([scores, failed]), tmp_path / "map", "en-de")
    texts = texts_in(tmp_path / "map")
    assert {"div.", "fail"} <= set(texts)
    assert any("hatched: diverged or failed" in text for text in texts)


@pytest.mark.parametrize("draw", [grid_figures.draw_heatmaps, grid_figures.draw_curve])
def test_figure_drawn_twice_is_the_same_file(repeats, draw):
    scores = _grid([2, 3], [1, 2], [4, 5], diverged=[(2, 1, 4)])
    assert repeats(lambda stem: draw(scores, stem, "en-de"))
