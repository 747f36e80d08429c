"""Tests of significance agree with sacrebleu's, find what was planted, and find nothing as rarely as they say."""

import numpy as np
import pytest
import simulation
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from skipclm.analysis import significance
from skipclm.demo import generator
from skipclm.evaluation import metrics
from skipclm.evaluation.metrics import METRICS, Translations


def _systems(name, count=120):
    """Return contributions to a metric of two sets of flawed translations, (1, segments, k) each, and the texts."""
    references = [row["de"] for row in generator.generate(count, 5)]
    chance = np.random.default_rng(3)
    sides = []
    for share in (0.15, 0.19):
        sides.append([" ".join(w for w in line.split() if chance.random() > share) for line in references])
    contributions = [
        metrics.measure(Translations(side, references, references, "en", "de"), [name])[1][name][None] for side in sides
    ]
    return contributions, sides, references


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scorer"), [("bleu", BLEU()), ("chrf", CHRF())])
def test_p_values_are_those_of_sacrebleu(name, scorer, monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", str(significance.SEED))
    (system, other), sides, references = _systems(name)
    result = significance.compare(METRICS[name].total, system, other)
    named = [("other", sides[1]), ("system", sides[0])]
    for kind, count, p in (
        ("bs", significance.RESAMPLES, result.p_bootstrap),
        ("ar", significance.TRIALS, result.p_randomization),
    ):
        _, results = PairedTest(named, {name: scorer}, [references], test_type=kind, n_samples=count)()
        (key,) = set(results) - {"System"}
        assert results[key][1].p_value == pytest.approx(p, abs=1e-3)
        assert results[key][1].score - results[key][0].score == pytest.approx(result.difference)


# By hand


def _mean(sums):
    return sums[:, 0] / sums[:, 1]


def _system(values):
    """Return contributions to a mean for values (seeds, segments)."""
    values = np.asarray(values, dtype=float)
    return np.stack([values, np.ones_like(values)], axis=-1)


def test_one_seed_leaves_the_segments():
    chance = np.random.default_rng(1)
    ours, theirs = chance.normal(0.3, 1, 300), chance.normal(0, 1, 300)
    result = significance.compare(_mean, _system([ours]), _system([theirs]))
    error = (ours - theirs).std(ddof=1) / 300**0.5
    assert result.difference == pytest.approx((ours - theirs).mean())
    assert result.high - result.low == pytest.approx(2 * 1.968 * error, rel=0.1)  # t of 299 degrees of freedom
    assert result.low < result.difference < result.high
    assert result.seeds == 1


def test_interval_of_many_seeds_is_that_of_their_t_test_where_segments_are_alike():
    shifts = np.array([0.1, 0.5, 0.3])
    ours = np.repeat(shifts[:, None], 50, axis=1)  # what a seed makes better, it makes better everywhere
    result = significance.compare(_mean, _system(ours), _system(np.zeros((3, 50))))
    error = shifts.std(ddof=1) / 3**0.5
    assert (result.low, result.high) == pytest.approx((0.3 - 4.303 * error, 0.3 + 4.303 * error), rel=1e-3)
    assert result.p == pytest.approx(0.1217, abs=1e-3)  # t = 2.598 with 2 degrees of freedom


def test_p_and_interval_agree():
    chance = np.random.default_rng(2)
    for shift in (0.02, 0.2, 0.35, 1.0):
        ours = chance.normal(shift, 1, (3, 100)) + chance.normal(0, 0.1, (3, 1))
        result = significance.compare(_mean, _system(ours), _system(chance.normal(0, 1, (3, 100))))
        assert (result.p < 0.05) == (not result.low < 0 < result.high)


def test_same_system_twice_is_no_difference():
    system = _system(np.random.default_rng(1).normal(0, 1, (3, 40)))
    result = significance.compare(_mean, system, system)
    assert (result.difference, result.low, result.high, result.p) == (0, 0, 0, 1)
    assert (result.p_bootstrap, result.p_randomization) == (1, 1)


def test_holm_worked_out_by_hand():
    # sorted: 0.01 x 4, 0.02 x 3, 0.04 x 2, 0.045 x 1, each at least the one before
    assert significance.holm(np.array([0.04, 0.01, 0.045, 0.02])) == pytest.approx([0.08, 0.04, 0.08, 0.06])
    assert significance.holm(np.array([0.6, 0.7])) == pytest.approx([1, 1])
    assert significance.holm(np.array([])).size == 0


# Simulation, as docs/statistics.md has it


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("spreads", simulation.SPREADS)
def test_nothing_is_found_in_nothing_as_rarely_as_said(spreads, seeds):
    spreads = simulation.SPREADS[spreads]
    if seeds == 1 and spreads[0]:
        pytest.skip("one seed tells nothing of the spread over seeds")
    assert 0.04 <= simulation.detection_rate(simulation.normal_trial(spreads, seeds)) <= 0.06


@pytest.mark.slow
def test_planted_difference_is_found():
    trial = simulation.normal_trial(simulation.SPREADS["all three"], 3, effect=0.6)
    assert simulation.detection_rate(trial, trials=200) > 0.8


@pytest.mark.slow
def test_bleu_of_damaged_text_differs_where_more_is_lost_and_nowhere_else():
    text = simulation.DamagedText([0.15, 0.3])
    assert simulation.detection_rate(text.trial(0, 0, 3), trials=60) < 0.15
    assert simulation.detection_rate(text.trial(0, 1, 3), trials=15) > 0.95


# The ablation


def _run(variant, seed, pair="en-de", split="test"):
    return {"pair": pair, "split": split, "run": variant, "seed": seed}


def test_table_compares_every_variant_with_the_baseline_on_the_seeds_that_both_have():
    chance = np.random.default_rng(4)
    runs, segments = [], []
    for variant, shift, seeds in (("full", 0.3, (1, 2, 3)), ("worse", -0.3, (1, 2)), ("finetune", 0.0, (1, 2, 3))):
        for seed in seeds:
            runs.append(_run(variant, seed))
            values = chance.normal(0.5 + shift, 0.1, 200)
            segments.append({"comet": np.stack([values, np.ones(200)], axis=1)})
    runs.append(_run("gone", 1))
    segments.append({})
    table = significance.compare_with_baseline("finetune", runs, segments, ["comet"]).set_index("variant")
    assert list(table.index) == ["full", "worse", "gone"]
    assert table["seeds"].tolist() == [3, 2, 0]
    assert table["verdict"].tolist()[:2] == ["better", "worse"]
    assert table["difference"]["full"] == pytest.approx(30, abs=2)
    assert table.loc["gone", ["difference", "p_holm", "verdict"]].isna().all()
    assert table["p_holm"]["full"] == pytest.approx(min(1, 2 * table["p"]["full"]), rel=1e-6)


def test_a_further_test_set_leaves_the_verdicts_on_the_first_as_they_were():
    chance = np.random.default_rng(4)
    runs = [_run(variant, seed) for variant in ("full", "other", "finetune") for seed in (1, 2, 3)]
    first, second = ([{"comet": chance.normal(0.5, 0.1, (200, 2))} for _ in runs] for _ in range(2))
    first_only = significance.compare_with_baseline("finetune", runs, first, ["comet"])
    both = significance.compare_with_baseline(
        "finetune", [*runs, *(run | {"split": "b"} for run in runs)], first + second, ["comet"]
    )
    assert list(both["split"]) == ["test", "test", "b", "b"]
    assert both[:2].equals(first_only)


def test_a_variant_of_which_a_run_diverged_is_not_compared():
    chance = np.random.default_rng(4)
    runs = [_run(variant, seed) for variant in ("full", "finetune") for seed in (1, 2, 3)]
    values = [chance.normal(run["run"] == "full", 0.1, 200) for run in runs]
    segments = [{"comet": np.stack([each, np.ones(200)], axis=1)} for each in values]
    assert significance.compare_with_baseline("finetune", runs, segments, ["comet"])["verdict"].tolist() == ["better"]
    for lost in (1, 4):
        left = [{} if place == lost else each for place, each in enumerate(segments)]
        row = significance.compare_with_baseline("finetune", runs, left, ["comet"]).iloc[0]
        assert row["seeds"] == 2
        assert row[["difference", "p", "p_holm", "verdict"]].isna().all()


def test_one_segment_tells_nothing():
    result = significance.compare(_mean, _system([[1.0], [2.0]]), _system([[0.0], [0.5]]))
    assert result.difference == 1.25
    assert np.isnan([result.low, result.high, result.p]).all()


def test_what_is_neither_better_nor_worse_has_no_verdict():
    runs = [_run(variant, seed) for variant in ("full", "finetune") for seed in (1, 2)]
    segments = [{"length_ratio": np.tile([10.0 + (r["run"] == "full"), 10.0], (50, 1))} for r in runs]
    row = significance.compare_with_baseline("finetune", runs, segments, ["length_ratio"]).iloc[0]
    assert row["difference"] == pytest.approx(10)
    assert row["p"] < 0.001
    assert row["verdict"] is None


def test_a_rate_that_falls_is_better():
    runs = [_run(variant, seed) for variant in ("full", "finetune") for seed in (1, 2)]
    shares = {"full": 0.1, "finetune": 0.6}
    chance = np.random.default_rng(4)
    segments = [{"empty": np.stack([chance.random(300) < shares[r["run"]], np.ones(300)], axis=1)} for r in runs]
    row = significance.compare_with_baseline("finetune", runs, segments, ["empty"]).iloc[0]
    assert row["difference"] < 0
    assert row["verdict"] == "better"


def test_without_a_baseline_the_table_is_empty():
    table = significance.compare_with_baseline(None, [_run("full", 1)], [{"bleu": np.ones((3, 10))}], ["bleu"])
    assert table.empty
    assert {"p_holm", "verdict"} <= set(table.columns)
