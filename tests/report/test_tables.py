"""Tables of the ablation in all formats, compared exactly."""

import re
import shutil
import subprocess
from xml.etree import ElementTree

import pandas as pd
import pytest
from ablations import COMPARED, NAN, compared, tidy_scores

from skipclm.analysis.ablation_summary import summarise
from skipclm.errors import InputError
from skipclm.report import tables

SMALL = pd.concat(
    [
        tidy_scores({"full": [22.0, 24.0, 26.0], "skip_only": [24.04, NAN, 23.96], "base": [9.5]}),
        tidy_scores({"full": [10.0, 10.0, 10.0], "skip_only": [NAN] * 3, "base": [10.02]}, pair="en-zh"),
    ],
    ignore_index=True,
)

MARKDOWN = r"""| variant | en-de BLEU | en-zh BLEU |
| --- | ---: | ---: |
| full | **24.0** ± 2.0 | 10.0 ± 0.0 |
| skip only | 24.0 ± 0.1 (2/3) | – |
| base | 9.5 | 10.0 |

BLEU on the test split of 500 sentences, mean ± sample standard deviation over 3 training seeds (without ±: a single run); best mean per column in bold. –: diverged. (k/n): only k of n seeds have a score, since the others diverged or the metric did not run.

Signatures:

- BLEU: `nrefs:1|tok:13a`
"""  # noqa: E501

LATEX = r"""\begin{table}
\centering\small\setlength{\tabcolsep}{3pt}
\begin{tabular}{lll}
\toprule
 & \multicolumn{1}{c}{en-de} & \multicolumn{1}{c}{en-zh} \\
\cmidrule(lr){2-2} \cmidrule(lr){3-3}
variant & BLEU & BLEU \\
\midrule
full & \textbf{24.0}{\scriptsize$\pm$2.0} & 10.0{\scriptsize$\pm$0.0} \\
skip only & 24.0{\scriptsize$\pm$0.1 (2/3)} & -- \\
base & \phantom{0}9.5 & 10.0 \\
\bottomrule
\end{tabular}
\caption{BLEU on the test split of 500 sentences, mean $\pm$ sample standard deviation over 3 training seeds (without $\pm$: a single run); best mean per column in bold. --: diverged. (k/n): only k of n seeds have a score, since the others diverged or the metric did not run. Signatures: BLEU \texttt{nrefs:1\textbar{}\allowbreak{}tok:13a}.}
\label{tab:ablation}
\end{table}
"""  # noqa: E501


def test_markdown_table_exactly():
    assert tables.to_markdown(summarise(SMALL)) == MARKDOWN


def test_latex_table_exactly():
    assert tables.to_latex(summarise(SMALL)) == LATEX


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="a TeX with booktabs compiles it")
def test_latex_compiles_and_fits_the_page(tmp_path):
    pairs = ["en-de", "en-tr", "en-zh", "de-en", "tr-en", "en-cs"]
    values = {"full": [22.0, 24.0, 26.0], "contrastive_only": [24.0, 25.0, 26.0], "finetune": [9.5, 10.1, 8.8]}
    values |= {name: [1.0, 2.0, 3.0] for name in ("skip_only", "base")}
    metrics = {
        "test": ("bleu", "chrf", "ter", "comet"),
        "b_2": ("bleu", "x%"),
    }  # the first exceeds a page
    parts = [tidy_scores(values, pair, metric, split=s) for s in metrics for pair in pairs for metric in metrics[s]]
    parts += [tidy_scores({"full": [1.0, NAN, NAN]}, "zh-en", "bleu")]
    marks = [(pair, "test", "full", "bleu", "finetune", 1.0, 0.5, 1.5, 0.01, "better") for pair in pairs]
    summary = summarise(pd.concat(parts), pd.DataFrame(marks, columns=COMPARED))
    (tmp_path / "table.tex").write_text(tables.to_latex(summary), encoding="utf-8")
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{table}\end{document}"
    (tmp_path / "page.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert not re.findall("Overfull|Float too large", done.stdout)
    assert (tmp_path / "page.pdf").exists()


def test_latex_escapes_names():
    latex = tables.to_latex(summarise(tidy_scores({"50%_&_#1": [1.0]}, pair="a_b", metric="x_y")))
    assert r"50\% \& \#1 & \textbf{1.0} \\" in latex
    assert r"\multicolumn{1}{c}{a\_b}" in latex
    assert r"variant & x\_y \\" in latex


def test_html_has_every_cell_and_escapes():
    page = tables.to_html(summarise(SMALL))
    tree = ElementTree.fromstring(f"<body>{page.partition('</style>')[2].partition('</html>')[0]}</body>")
    cells = [["".join(cell.itertext()) for cell in row] for row in tree.iter("tr")]
    assert cells == [
        ["", "en-de", "en-zh"],
        ["variant", "BLEU", "BLEU"],
        ["full", "24.0 ± 2.0", "10.0 ± 0.0"],
        ["skip only", "24.0 ± 0.1 (2/3)", "–"],
        ["base", "9.5", "10.0"],
    ]
    assert [bold.text for bold in tree.iter("b")] == ["24.0"]
    assert "nrefs:1|tok:13a" in page
    odd = tables.to_html(summarise(tidy_scores({"a<b>&": [1.0]})))
    assert "<th>a&lt;b&gt;&amp;</th>" in odd


def test_columns_are_pairs_times_metrics():
    both = pd.concat(
        [tidy_scores({"full": [2.0]}, pair, metric) for pair in ("b-a", "a-b") for metric in ("chrf", "bleu")]
    )
    summary = summarise(both)
    head = tables.to_markdown(summary).splitlines()[0]
    assert head == "| variant | b-a chrF2 | b-a BLEU | a-b chrF2 | a-b BLEU |"
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}" in tables.to_latex(summary)


def test_further_test_sets_have_their_own_tables():
    both = pd.concat([tidy_scores({"a": [1.0]}), tidy_scores({"a": [2.0]}, split="devtest_2")])
    summary = summarise(both)
    assert summary["split"].tolist() == ["test", "devtest_2"]
    for show in (tables.to_markdown, tables.to_html, tables.to_text):
        shown = show(summary)
        assert shown.index("1.0") < shown.index("2.0")
        assert shown.index("BLEU on the test split") < shown.index("BLEU on the test set devtest 2 of 500 sentences")
    latex = tables.to_latex(summary)
    assert latex.count(r"\begin{table}") == 2
    assert r"\label{tab:ablation-devtest_2}" in latex


def test_pairs_beyond_the_page_width_are_in_further_blocks():
    pairs = ["en-de", "en-tr", "en-zh", "de-en", "tr-en"]
    metrics = ["bleu", "chrf"]
    scores = [tidy_scores({"a": [float(n)]}, pair, metric) for n, pair in enumerate(pairs) for metric in metrics]
    summary = summarise(pd.concat(scores))
    lines = tables.to_markdown(summary).splitlines()
    assert lines[0] == "| variant | en-de BLEU | en-de chrF2 | en-tr BLEU | en-tr chrF2 | en-zh BLEU | en-zh chrF2 |"
    assert lines[4] == "| variant | de-en BLEU | de-en chrF2 | tr-en BLEU | tr-en chrF2 |"
    assert "".join(lines).count("Signatures:") == 1
    latex = tables.to_latex(summary)
    assert latex.count(r"\begin{tabular}{lllllll}") == 1
    assert latex.count(r"\midrule") == 3
    assert tables.to_html(summary).count("<tbody>") == 2
    rates = summarise(pd.concat([tidy_scores({"a": [1.0]}, "en-de", str(n)) for n in range(9)]))
    assert len(tables.to_text(rates).splitlines()[0].split("en-de")) == 10


def test_blocks_beyond_the_page_are_in_further_latex_tables():
    scores = [tidy_scores({name: [1.0] for name in "abcde"}, f"en-{n}", f"m{m}") for n in range(5) for m in range(6)]
    latex = tables.to_latex(summarise(pd.concat(scores)))
    assert [part.count(r"\multicolumn") for part in latex.split(r"\end{table*}")] == [4, 1, 0]
    assert latex.count(r"\label{tab:ablation}") == 1
    assert r"Further pairs of table~\ref{tab:ablation}." in latex


def test_best_value_is_marked_unless_all_are_printed_alike():
    assert "**" not in tables.to_markdown(summarise(tidy_scores({"a": [1.01], "b": [1.04]})))
    assert "**1.1**" in tables.to_markdown(summarise(tidy_scores({"a": [1.01], "b": [1.06]})))
    assert "**1.0**" in tables.to_markdown(summarise(tidy_scores({"a": [1.0]})))


def test_table_of_only_diverged_runs():
    summary = summarise(tidy_scores({"a": [NAN, NAN]}))
    for show in (tables.to_markdown, tables.to_latex, tables.to_text):
        assert "diverged" in show(summary)


def test_text_columns_are_aligned():
    lines = tables.to_text(summarise(SMALL)).splitlines()
    assert lines[:5] == [
        "           en-de             en-zh",
        "variant    BLEU              BLEU",
        "full       24.0* ± 2.0       10.0 ± 0.0",
        "skip only  24.0 ± 0.1 (2/3)  –",
        "base       9.5               10.0",
    ]
    assert "best mean per column starred" in " ".join(lines)


def test_significant_differences_are_marked_and_explained():
    scores = tidy_scores({"full": [3.0], "contrastive_only": [1.0], "skip_only": [2.1], "finetune": [2.0]})
    significance = compared(full=(0.01, "better"), contrastive_only=(0.04, "worse"), skip_only=(0.8, None))
    summary = summarise(scores, significance)
    markdown, latex, text = (show(summary) for show in (tables.to_markdown, tables.to_latex, tables.to_text))
    assert "| full | **3.0** ▲ |\n| contrastive only | 1.0 ▼ |\n| skip only | 2.1 |\n| finetune | 2.0 |" in markdown
    assert "▲ better, ▼ worse than finetune by more than chance (p < 0.05 over segments alone" in markdown
    assert r"full & \textbf{3.0}$\uparrow$ \\" in latex
    assert r"$\uparrow$ better, $\downarrow$ worse than finetune" in latex
    assert "▲" not in latex
    assert "3.0* ▲" in text


def test_rates_have_their_own_table():
    both = pd.concat(
        [tidy_scores({"full": [2.0], "base": [1.0]}), tidy_scores({"full": [7.0], "base": [3.0]}, metric="looping")]
    )
    summary = summarise(both)
    quality, rates = tables.to_markdown(summary).split("| variant |")[1:]
    assert "looping" not in quality
    assert "| base | **3.0** |" in rates  # less is better
    assert "looping on the test split of 500 sentences, in per cent of translations" in rates
    assert "looping" not in tables.to_latex(summary)
    assert "looping" in tables.to_text(summary)


def test_length_ratio_has_no_best():
    summary = summarise(tidy_scores({"full": [97.0], "base": [120.0]}, metric="length_ratio"))
    assert "**" not in tables.to_markdown(summary)


def test_no_scores_give_no_table():
    with pytest.raises(InputError, match="run the ablation first"):
        tables.to_markdown(summarise(SMALL[:0]))
