"""Tables as tab-separated text."""

import csv
import re
from pathlib import Path

import pandas as pd

from skipclm.errors import InputError
from skipclm.runtime import atomic

# The columns of text and the columns of True or False in all tables. All other columns hold numbers.
TEXT = {
    *("pair", "split", "variant", "metric", "status", "verdict", "baseline", "signature", "note", "reason"),
    *("origin", "source_sha256", "target_sha256", "language", "other", "stage", "warnings", "dropped"),
}
BOOLEAN = {"like_best"}
MISSING = ["", "NA", "-"]  # in benchmarks, Snakemake writes the last two for numbers that it could not measure
# Tabs, and all characters that a reader may take for the end of a line.
_BREAKS = re.compile(r"[\t\n\x0b\x0c\r\x1c-\x1e\x85\u2028\u2029]")

# The beginnings of formulas in a spreadsheet, and the words for missing values in pandas or R.
_MISREAD = re.compile(r"[=+\-@]|(#?n/?a|<na>|nan|null|none|#n/a n/a|1\.#ind|1\.#qnan)$", re.IGNORECASE)


def read(path: str | Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a table, or some of its columns, with their types and with exact floats.

    In columns of text, only an empty cell is missing, because a variant may be called "null", "08" or "True".
    Raises an `InputError` for a missing file, a file that is not a table, a missing column, or text in a column of
    numbers.
    """
    try:
        header = list(_parse(path, nrows=0).columns)
        columns = columns or header
        if missing := [name for name in columns if name not in header]:
            raise InputError(f"{path}: expected the columns {', '.join(columns)}, found no {missing[0]}; make it again")
        text = [name for name in columns if is_text(name)]
        frame = _parse(
            path,
            usecols=columns,
            dtype=dict.fromkeys(text, "str") | {name: "bool" for name in columns if name in BOOLEAN},
            na_values={name: [""] if name in text else MISSING for name in columns},
        )
    except (FileNotFoundError, pd.errors.EmptyDataError) as error:
        raise InputError(f"expected a table with a header in {path}, found {error}; make it first") from error
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a table, found {' '.join(str(error).split())}; make it again") from error
    for name in frame.columns.difference([*text, *BOOLEAN]):
        frame[name] = _numbers(frame[name], path)
    return frame


def is_text(column: str) -> bool:
    """Return whether a column holds text."""
    return column in TEXT or column.endswith("_signature")


def _parse(path: str | Path, **options: object) -> pd.DataFrame:
    options = {"na_values": [""]} | options
    return pd.read_csv(
        path,
        sep="\t",
        quoting=csv.QUOTE_NONE,
        lineterminator="\n",
        keep_default_na=False,
        **options,
    )


def _numbers(column: pd.Series, path: str | Path) -> pd.Series:
    if column.empty:
        return column.astype(float)
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column
    other = next(cell for cell in column.dropna() if not isinstance(cell, float | int) or isinstance(cell, bool))
    raise InputError(f"{path}: expected numbers in the column {column.name!r}, found {other!r}; make the table again")


def write(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a table without its index, without quotes, with exact floats and empty cells for missing values.

    Raises an `InputError` for a tab or a line break in a cell or a column name, and a `ValueError` for text in a column
    that is not listed in `TEXT`.
    """
    for name in frame.columns:
        if not is_text(name) and any(isinstance(cell, str) for cell in frame[name]):
            raise ValueError(f"column {name!r} holds text; add it to tsv.TEXT")
        _check_cell(name, f"{path}, header")
        for number, cell in enumerate(frame[name], start=1):
            _check_cell(cell, f"{path}, row {number}, column {name!r}")
    text = frame.to_csv(sep="\t", index=False, quoting=csv.QUOTE_NONE, lineterminator="\n")
    atomic.write_text(path, text)


def write_sentences(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a table of sentences that pandas, `read.delim` of R and spreadsheets read with their default options.

    Cells with double quotes are quoted, with the inner quotes doubled. A cell gets a leading space if a spreadsheet
    would read it as a formula, or pandas or R as a missing value. Sentences never begin with a space, so a program that
    reads the table can remove a leading space.
    """
    guarded = frame.map(lambda cell: f" {cell}" if isinstance(cell, str) and _MISREAD.match(cell) else cell)
    atomic.write_text(path, guarded.to_csv(sep="\t", index=False, lineterminator="\n"))


def _check_cell(cell: object, place: str) -> None:
    if isinstance(cell, str) and _BREAKS.search(cell):
        raise InputError(f"{place}: expected text without tabs and line breaks, found {cell!r}; remove them")
