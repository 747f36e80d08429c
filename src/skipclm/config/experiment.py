"""The runs of an experiment and the paths of their files, from a checked configuration."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from skipclm.config import corpus_config, runs, validation
from skipclm.evaluation import metrics
from skipclm.pairs import Pair

STAGES = ("grid", "ablation")


@dataclass(frozen=True, order=True)
class Run:
    """One training, with its translations and scores: one seed of a cell or a variant on one pair.

    In `settings`, layers may be `best`. `splits` are the splits that the run translates.
    """

    stage: str
    pair: str
    name: str
    seed: int
    settings: dict = field(default_factory=dict, compare=False, repr=False)
    splits: tuple[str, ...] = field(default=(), compare=False, repr=False)

    # The folder of a run within results, logs and benchmarks, as a pattern of Snakemake.
    PATTERN = "{stage}/{pair}/{run}/seed{seed}"

    @property
    def folder(self) -> str:
        """The folder of the run, relative to the folder of results, logs or benchmarks."""
        return self.PATTERN.format(stage=self.stage, pair=self.pair, run=self.name, seed=self.seed)

    @property
    def is_trained(self) -> bool:
        """Whether the run has a training; the base model has none."""
        return self.settings["training"]["enabled"]

    def jobs(self, neural: Iterable[str]) -> dict[str, str]:
        """Return the kind of each job of the run, by the name of its benchmark.

        `neural` are the metrics with a separate job.
        """
        kinds = {"translate": "translations", "score": "scores", **dict.fromkeys(neural, "neural scores")}
        steps = {f"{split}.{step}": kind for split in self.splits for step, kind in kinds.items()}
        return {f"{self.folder}/{step}": kind for step, kind in ({"train": "trainings"} | steps).items()}


class Experiment:
    """The runs and files of a checked configuration.

    Properties raise an `InputError` if the depth of the model is not known, or if the grid has no cells.
    """

    def __init__(self, config: dict) -> None:
        self.config = config
        self.name: str = config["experiment"]
        self.pairs: list[str] = config["pairs"]
        self.grid_pairs: list[str] = config["grid"]["pairs"]
        self.ablation_pairs = runs.ablation_pairs(config)
        self.tests = runs.test_sets(config)
        self.splits = ["train", "valid", *self.tests]
        self.metrics: list[str] = config["evaluation"]["metrics"]
        self.neural_metrics = [name for name in self.metrics if name in metrics.NEURAL]
        self.quality_metrics = [name for name in self.metrics if name not in metrics.RATES]
        self.text_pairs = corpus_config.text_pairs(config)
        self.text_of = corpus_config.texts_of(self.pairs)  # de-en reads the text of en-de

    @cached_property
    def depth(self) -> int:
        """The number of blocks of the base model."""
        return validation.depth(self.config)

    @cached_property
    def cells(self) -> dict[str, runs.Cell]:
        """The cells of the grid by name."""
        return {cell.name: cell for cell in runs.grid_cells(self.config["grid"], self.depth)}

    @cached_property
    def variants(self) -> list[str]:
        """The names of the variants of the ablation; they differ from the names of cells."""
        return list(runs.variants(self.config))

    def settings(self, name: str) -> dict:
        """Return the settings of a cell or a variant; layers may be `best`."""
        if name in self.cells:
            return runs.cell_settings(self.config, self.cells[name])
        return runs.variant_settings(self.config, name)

    @cached_property
    def runs(self) -> list[Run]:
        """All runs in the order of the tables, those of the grid first."""
        stages = {
            "grid": (self.grid_pairs, self.cells, ("valid",)),
            "ablation": (self.ablation_pairs, self.variants, tuple(self.tests)),
        }
        return [
            Run(stage, pair, name, seed, self.settings(name), splits)
            for stage, (pairs, names, splits) in stages.items()
            for pair in pairs
            for name in names
            for seed in self.config[stage]["seeds"]
        ]

    def run_files(self, stage: str, file: str, pair: str | None = None, seed: int | None = None) -> list[str]:
        """Return one file of each run of a stage, relative to the results; for one pair or seed, or for all."""
        selected = [run for run in self.runs if run.stage == stage and pair in (None, run.pair)]
        return [f"{run.folder}/{file}" for run in selected if seed in (None, run.seed)]

    def test_files(
        self, file: str, pair: str | None = None, test: str | None = None, seed: int | None = None
    ) -> list[str]:
        """Return one file, such as scores.json, of each ablation run and test set; arguments as in `run_files`."""
        tests = self.tests if test is None else [test]
        return [path for name in tests for path in self.run_files("ablation", f"{name}.{file}", pair, seed)]

    def check_files(self) -> list[str]:
        """Return the paths, relative to the results folder, of the check files of all splits that the runs read."""
        pairs = dict.fromkeys([*self.grid_pairs, *self.ablation_pairs])
        return [
            f"tokens/{pair}/{split}.json"
            for pair in pairs
            for split in self.splits
            if split not in self.tests or pair in self.ablation_pairs
        ]

    def text_files(self, split: str, pair: str | None = None) -> list[str]:
        """Return the sentence files of a split, for one pair or for all pairs with their own text."""
        pairs = self.text_pairs if pair is None else [pair]
        return [
            f"corpus/{self.text_of[name]}/{split}.{language}" for name in pairs for language in Pair(name).languages
        ]

    def trainings(self, pair: str) -> list[dict]:
        """Return the settings that determine how much text of a pair a training uses, without repeats."""
        names = [*list(self.cells)[:1]] if pair in self.grid_pairs else []
        names += self.variants if pair in self.ablation_pairs else []
        keys = ("max_tokens", "batch_size", "validations")
        trainings = [self.settings(name)["training"] for name in names]
        used = [{key: training[key] for key in keys} for training in trainings if training["enabled"]]
        return [settings for number, settings in enumerate(used) if settings not in used[:number]]

    def scoring(self, pair: str) -> dict:
        """Return the options of the metrics for a pair."""
        return {
            "bleu_tokenizer": self.config["languages"][Pair(pair).target]["bleu_tokenizer"],
            "languages": sorted(self.config["languages"]),
            "spbleu_model": validation.spbleu_file(self.config["evaluation"]),
        }


def read_run(wildcards: object) -> Run:
    """Return the run in the wildcards of a rule, without settings."""
    return Run(wildcards.stage, wildcards.pair, wildcards.run, int(wildcards.seed))
