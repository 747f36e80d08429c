"""Tables as tab-separated text."""

import csv
from pathlib import Path

import pandas as pd

from skipclm import provenance
from skipclm.errors import InputError


def read(path: str | Path, *columns: str) -> pd.DataFrame:
    """Read a table; only an empty cell is missing, and floats come back bit for bit.

    InputError: no such file, no table, or one without these columns.
    """
    try:
        table = pd.read_csv(
            path,
            sep="\t",
            quoting=csv.QUOTE_NONE,
            keep_default_na=False,  # a variant may well be called "null"
            na_values=[""],
        )
    except (FileNotFoundError, pd.errors.EmptyDataError) as error:
        raise InputError(f"expected a table with a header in {path}, found {error}; make it first") from error
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a table, found {' '.join(str(error).split())}; make it anew") from error
    if lacking := [name for name in columns if name not in table]:
        raise InputError(f"{path}: expected the columns {', '.join(columns)}, found no {lacking[0]}; make it anew")
    return table


def write(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a table without its index: no quotes, missing cells empty, floats in full, so equal runs agree.

    InputError: a tab or a line break inside a cell.
    """
    try:
        text = frame.to_csv(sep="\t", index=False, quoting=csv.QUOTE_NONE, lineterminator="\n")
    except csv.Error as error:
        raise InputError(f"expected cells without tabs and line breaks for {path}: {error}") from error
    provenance.write_text(path, text)
