"""Read data sets of the Hugging Face hub, or local folders of the same form."""

from pathlib import Path
from typing import TYPE_CHECKING

from skipclm.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset


def load_table(name: str, config: str | None, split: str, revision: str | None, local: Path) -> "Dataset":
    """Return one split of the data set `name`: from the folder `local` if it exists, else from the hub."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()  # the output goes to a log, not to a terminal
    # An absolute path, because `datasets` takes a relative path such as "json" for a file format.
    is_local = local.is_dir()
    address = str(local.resolve()) if is_local else name
    try:
        return load_dataset(address, config, split=split, revision=revision)
    except Exception as error:  # the remedy is the same for every error
        remedy = (
            "Check the names of config and split, and the files in the folder."
            if is_local
            else "Check the names and the network. If it is gated, accept its licence on its page and log in "
            "(hf auth login). Without a network, download it and let `dataset` name the local folder."
        )
        message = f"expected a dataset that loads, found that {address!r} (config {config!r}, split {split!r}) does not"
        raise InputError(f"{message}: {error}\n{remedy}") from error


def column(table: "Dataset", field: str) -> list:
    """Return the values of a column; `field` may be the dotted path of a nested column.

    A column with dots in its name takes precedence over a nested one. Raises an `InputError` if there is no such
    column, or if its text is not UTF-8.
    """
    if field not in table.column_names:
        table = table.flatten()  # nested fields become columns with dotted names
    if field not in table.column_names:
        raise InputError(f"expected a field `{field}`, found {', '.join(table.column_names)}; correct its name")
    try:
        return table[field][:]
    except UnicodeDecodeError as error:
        raise InputError(f"expected UTF-8 in `{field}`, found {error.object!r:.80}; convert the files") from error


def join_rows(texts: list[list[str]], keys: list[list], languages: tuple[str, str], join: str) -> list[tuple[str, str]]:
    """Join the texts of both sides by their keys, in the order of the first side.

    `join` is the name of the key column. Keys must be unique and the same on both sides; otherwise raises an
    `InputError`.
    """
    source, target = (dict(zip(*side, strict=True)) for side in zip(keys, texts, strict=True))
    for language, rows, unique in zip(languages, keys, (source, target), strict=True):
        if len(unique) < len(rows):
            raise InputError(
                f"`join: {join}` must be unique: {language} has {len(rows)} rows and {len(unique)} values "
                "of it; join by another column, or leave `join` out if the rows are aligned"
            )
    if source.keys() != target.keys():
        common = source.keys() & target.keys()
        raise InputError(
            f"`join: {join}` must match: {len(common)} rows do, {len(source) - len(common)} are only in "
            f"{languages[0]} and {len(target) - len(common)} only in {languages[1]}; choose a config, split or "
            "revision where both are complete"
        )
    return [(text, target[key]) for key, text in source.items()]
