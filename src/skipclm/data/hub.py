"""Read data sets of the Hugging Face hub, or of local folders in its form."""

from pathlib import Path
from typing import TYPE_CHECKING

from skipclm.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset


def load_table(name: str, config: str | None, split: str, revision: str | None, local: Path) -> "Dataset":
    """Return one split of the data set `name`: from the folder `local` if there is one, else from the hub."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()  # a log is no terminal
    # An absolute path, for a relative one such as "json" would be taken for a file format.
    is_local = local.is_dir()
    where = str(local.resolve()) if is_local else name
    try:
        return load_dataset(where, config, split=split, revision=revision)
    except Exception as error:  # whatever it is, the user's remedies are the same
        remedy = (
            "Check the names of config and split, and the files in the folder."
            if is_local
            else "Check the names and the network. If it is gated, accept its licence on its page and log in "
            "(hf auth login). Without a network, download it and let `dataset` name the local folder."
        )
        found = f"expected a dataset that loads, found that {where!r} (config {config!r}, split {split!r}) does not"
        raise InputError(f"{found}: {error}\n{remedy}") from error


def column(table: "Dataset", field: str) -> list:
    """Return a column's values; `field` may be the dotted name of a nested one.

    A column that has the dots in its own name goes before a nested one. Raises an `InputError` if there is none, or if
    its text is not UTF-8.
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
    """Return the two sides' texts paired by their keys, in the first side's order.

    `join` is the name of the column that holds the keys. They must be unique, and the same on both sides.
    """
    source, target = (dict(zip(*side, strict=True)) for side in zip(keys, texts, strict=True))
    for language, rows, unique in zip(languages, keys, (source, target), strict=True):
        if len(unique) < len(rows):
            raise InputError(
                f"`join: {join}` must be unique: {language} has {len(rows)} rows and {len(unique)} values "
                "of it; join by another column, or leave `join` out if the rows are aligned"
            )
    if source.keys() != target.keys():
        both = source.keys() & target.keys()
        raise InputError(
            f"`join: {join}` must match: {len(both)} rows do, {len(source) - len(both)} are only in "
            f"{languages[0]} and {len(target) - len(both)} only in {languages[1]}; choose a config, split or "
            "revision where both are whole"
        )
    return [(text, target[key]) for key, text in source.items()]
