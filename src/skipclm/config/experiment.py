"""What an experiment consists of, read off its checked configuration: its runs, and where their files lie."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from skipclm.config import corpus_config, runs, validation
from skipclm.evaluation import metrics
from skipclm.pairs import Pair

STAGES = ("grid", "ablation")


@dataclass(frozen=True, order=True)
class Run:
    """One training and what follows from it: a seed of a cell or a variant on one pair.

    `settings` are its method settings, in which layers may still be `best`, and `splits` the ones that it translates.
    """

    stage: str
    pair: str
    name: str
    seed: int
    settings: dict = field(default_factory=dict, compare=False, repr=False)
    splits: tuple[str, ...] = field(default=(), compare=False, repr=False)

    # Its folder among results, logs and benchmarks, as a pattern of Snakemake.
    PATTERN = "{stage}/{pair}/{run}/seed{seed}"

    @property
    def folder(self) -> str:
        """Its folder, relative to those of results, logs and benchmarks."""
        return self.PATTERN.format(stage=self.stage, pair=self.pair, run=self.name, seed=self.seed)

    @property
    def is_trained(self) -> bool:
        """Whether it is trained at all; the base model is not."""
        return self.settings["training"]["enabled"]

    def jobs(self, neural: Iterable[str]) -> dict[str, str]:
        """Return the kind of each of its jobs, by the names of their benchmarks.

        `neural` are the metrics that have a job of their own.
        """
        kinds = {"translate": "translations", "score": "scores", **dict.fromkeys(neural, "neural scores")}
        steps = {f"{split}.{step}": kind for split in self.splits for step, kind in kinds.items()}
        return {f"{self.folder}/{step}": kind for step, kind in ({"train": "trainings"} | steps).items()}


class Experiment:
    """A checked configuration, and what follows from it.

    Raises an `InputError` where the depth of the model is not known, or a grid has no cells.
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
        """The grid's cells by name."""
        return {cell.name: cell for cell in runs.grid_cells(self.config["grid"], self.depth)}

    @cached_property
    def variants(self) -> list[str]:
        """The names of the ablation's variants; no cell has such a name."""
        return list(runs.variants(self.config))

    def settings(self, name: str) -> dict:
        """Return the method settings of a cell or a variant; layers may still be `best`."""
        if name in self.cells:
            return runs.cell_settings(self.config, self.cells[name])
        return runs.variant_settings(self.config, name)

    @cached_property
    def runs(self) -> list[Run]:
        """All runs, the grid's first, in the order of the tables."""
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
        """Return one file of each run of a stage, below the folder of results; of one pair or seed, or of all."""
        chosen = [run for run in self.runs if run.stage == stage and pair in (None, run.pair)]
        return [f"{run.folder}/{file}" for run in chosen if seed in (None, run.seed)]

    def test_files(
        self, file: str, pair: str | None = None, test: str | None = None, seed: int | None = None
    ) -> list[str]:
        """Return one file, such as scores.json, of each ablation run and test set, chosen as in `run_files`."""
        tests = self.tests if test is None else [test]
        return [path for name in tests for path in self.run_files("ablation", f"{name}.{file}", pair, seed)]

    def check_files(self) -> list[str]:
        """Return the checks of the splits that runs read, below the folder of results."""
        pairs = dict.fromkeys([*self.grid_pairs, *self.ablation_pairs])
        return [
            f"tokens/{pair}/{split}.json"
            for pair in pairs
            for split in self.splits
            if split not in self.tests or pair in self.ablation_pairs
        ]

    def text_files(self, split: str, pair: str | None = None) -> list[str]:
        """Return the sentence files of a split: a pair's source and target, or those of all pairs with own text."""
        pairs = self.text_pairs if pair is None else [pair]
        return [
            f"corpus/{self.text_of[each]}/{split}.{language}" for each in pairs for language in Pair(each).languages
        ]

    def trainings(self, pair: str) -> list[dict]:
        """Return what decides how much of a pair's text a training uses, for all trainings of the pair, each once."""
        names = [*list(self.cells)[:1]] if pair in self.grid_pairs else []
        names += self.variants if pair in self.ablation_pairs else []
        keys = ("max_tokens", "batch_size", "validations")
        trainings = [self.settings(name)["training"] for name in names]
        used = [{key: training[key] for key in keys} for training in trainings if training["enabled"]]
        return [each for number, each in enumerate(used) if each not in used[:number]]

    def scoring(self, pair: str) -> dict:
        """Return what the metrics are told of a pair besides its texts."""
        return {
            "bleu_tokenizer": self.config["languages"][Pair(pair).target]["bleu_tokenizer"],
            "languages": sorted(self.config["languages"]),
            "spbleu_model": validation.spbleu_file(self.config["evaluation"]),
        }


def read_run(wildcards: object) -> Run:
    """Return the run that a rule's wildcards name, without settings."""
    return Run(wildcards.stage, wildcards.pair, wildcards.run, int(wildcards.seed))
