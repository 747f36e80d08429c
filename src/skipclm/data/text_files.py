"""Read the lines of text files: plain or compressed, in UTF-8 and in nothing else."""

import bz2
import codecs
import gzip
import lzma
import re
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from skipclm.errors import InputError

# Longer marks first: that of UTF-16LE begins that of UTF-32LE.
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32LE",
    codecs.BOM_UTF32_BE: "UTF-32BE",
    codecs.BOM_UTF16_LE: "UTF-16LE",
    codecs.BOM_UTF16_BE: "UTF-16BE",
}
_SAMPLE = 1 << 16  # bytes that are looked at, to tell the encoding
_PRINTABLE = 0.99  # share of the characters in a text of the right encoding
_CONTROL = 0.2  # share of control characters; text in UTF-16 that is read as UTF-8 has more
_ESCAPE = re.compile(rb"\x1b[$(][@A-Z(-/]")  # switches the character set in ISO-2022-JP and its like
_CANNOT_BE_TEXT = {
    re.compile(rb"version https://git-lfs"): ("a pointer of Git LFS", "fetch the file itself (git lfs pull)"),
    re.compile(rb"PK\x03\x04"): ("a zip archive or an office document", "take the text out of it"),
    re.compile(rb"PAR1"): ("a Parquet file", "read its folder with `kind: hub`"),
    re.compile(rb".{257}ustar", re.DOTALL): ("a tar archive", "unpack it (tar -xf)"),
}


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a file as `decode_lines` does; raises an `InputError` if it cannot be read."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    return decode_lines(data, str(path))


def decode_lines(data: bytes, name: str) -> list[str]:
    r"""Return the lines of a text in UTF-8, without a byte-order mark and line ends; errors call it by its `name`.

    The text may be compressed by gzip, bzip2, xz or zstd, which its first bytes tell. Only "\n" and "\r\n" end a line:
    `str.splitlines` would also cut at the separators that web text holds inside sentences (U+2028, U+0085, form feeds),
    and two files would lose their alignment. Raises an `InputError` for damaged and for other files and encodings.
    """
    data = _decompress(data, name)
    _check_form(data, name)
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{name}, line {line}: expected UTF-8, found the byte 0x{data[error.start]:02x}; "
            "convert the file (iconv -f ... -t utf-8) or mend the line"
        ) from None
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _decompress(data: bytes, name: str) -> bytes:
    """Return the content of compressed data, and other data as they are."""
    for start, (form, decompress) in _COMPRESSED.items():
        if start.match(data):
            try:
                return decompress(data)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise InputError(
                    f"{name}: expected a whole {form} file, found a damaged one ({error}); fetch or make it again"
                ) from None
    return data


def _join_streams(new_decompressor: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor], data: bytes) -> bytes:
    """Return the content of streams that follow each other, padded with zeros perhaps.

    `bz2.decompress` and `lzma.decompress` leave out everything from a damaged stream on if it is not the first.
    """
    parts = []
    while data:
        decompressor = new_decompressor()
        parts.append(decompressor.decompress(data))
        if not decompressor.eof:
            raise EOFError("the end of a stream is missing")
        data = decompressor.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _unzstd(data: bytes) -> bytes:
    import pyarrow  # a third of a second

    return pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd").read()


def _check_form(data: bytes, name: str) -> None:
    """Raise an `InputError` for what is no text in UTF-8, but can be named."""
    for start, (form, remedy) in _CANNOT_BE_TEXT.items():
        if start.match(data):
            raise InputError(f"{name}: expected text, found {form}; {remedy}")
    if encoding := _other_encoding(data):
        raise InputError(
            f"{name}: expected UTF-8, found what looks like {encoding}; convert the file (iconv -f {encoding} -t UTF-8)"
        )


def _other_encoding(data: bytes) -> str | None:
    """Return the encoding that a text is in, if it is not UTF-8 and leaves no doubt."""
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return encoding
    sample = data[:_SAMPLE]
    if _ESCAPE.search(sample) and sample.isascii():
        return "ISO-2022-JP"
    if b"\0" not in sample or _reads_as_utf8(sample):
        return None
    ascii_in = {encoding: _count_ascii(sample, encoding) for encoding in _MARKS.values()}
    likeliest = max(ascii_in, key=ascii_in.__getitem__)
    return likeliest if ascii_in[likeliest] else None


def _reads_as_utf8(sample: bytes) -> bool:
    """Tell whether a sample is UTF-8 with few control characters."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return sum(character < " " and character not in "\t\r\n" for character in text) < _CONTROL * len(text)


def _count_ascii(sample: bytes, encoding: str) -> int:
    r"""Return the ASCII characters in a sample of text in UTF-16 or UTF-32, line ends mostly; 0 if it is likely none.

    They are what has bytes of zero. Where text in UTF-8 has some within, its line ends are none in UTF-16, and its
    spaces become characters that cannot be printed.
    """
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample)  # the last character may be cut
    except UnicodeDecodeError:
        return 0
    printable = sum(character.isprintable() or character in "\t\r\n\ufeff\u3000\xa0\u200c\u200d" for character in text)
    is_likely = printable >= _PRINTABLE * len(text) and 2 * text.count("\n") >= sample.count(b"\n")
    return sum(map(str.isascii, text)) if is_likely else 0


# By their first bytes, none of which begins a text in UTF-8; "BZh" alone would.
_COMPRESSED: dict[re.Pattern, tuple[str, Callable[[bytes], bytes]]] = {
    re.compile(rb"\x1f\x8b"): ("gzip", gzip.decompress),
    re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"): (
        "bzip2",
        partial(_join_streams, bz2.BZ2Decompressor),
    ),  # the second is an empty file's
    re.compile(rb"\xfd7zXZ\x00"): ("xz", partial(_join_streams, lzma.LZMADecompressor)),
    re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"): ("zstd", _unzstd),  # the second is a skippable frame's
}
