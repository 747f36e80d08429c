"""Files, styles and panels of figures."""

import pytest

from skipclm.report import figures


def test_figure_is_two_files_in_a_new_folder(tmp_path, texts_in):
    with figures.drawing(tmp_path / "new" / "a.en-de", (2, 1)) as figure:
        figure.suptitle("a title")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.en-de.png", "a.en-de.svg"]
    assert texts_in(tmp_path / "new" / "a.en-de") == ["a title"]


def test_failed_figure_leaves_no_files(tmp_path):
    with pytest.raises(ZeroDivisionError), figures.drawing(tmp_path / "a", (2, 1)):
        1 / 0  # noqa: B018
    assert not list(tmp_path.iterdir())


def test_line_styles_differ():
    values = list(range(8))
    styles = [figures.line_style(values, value) for value in values]
    assert len({(style["color"], style["linestyle"]) for style in styles}) == 8
    assert styles[0]["linestyle"] != styles[1]["linestyle"]


def test_unused_panels_are_hidden_and_panels_above_have_labels(tmp_path):
    with figures.drawing(tmp_path / "a", (3, 3)) as figure:
        axes = figure.subplots(2, 2, sharex=True).flatten()
        figures.hide_unused(axes, 3, 2)
    assert [ax.get_visible() for ax in axes] == [True, True, True, False]
    assert [ax.xaxis.get_tick_params()["labelbottom"] for ax in axes[:2]] == [False, True]
