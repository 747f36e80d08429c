"""Read the lines of text files, plain or compressed. The only encoding is UTF-8."""

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

# Byte-order marks. The mark of UTF-32LE comes before that of UTF-16LE because it begins with the same bytes.
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32LE",
    codecs.BOM_UTF32_BE: "UTF-32BE",
    codecs.BOM_UTF16_LE: "UTF-16LE",
    codecs.BOM_UTF16_BE: "UTF-16BE",
}
_SAMPLE = 1 << 16  # size in bytes of the sample that the encoding is detected from
_PRINTABLE = 0.99  # minimum share of printable characters if the encoding is right
_CONTROL = 0.2  # share of control characters; UTF-16 that is decoded as UTF-8 has more
_ESCAPE = re.compile(rb"\x1b[$(][@A-Z(-/]")  # changes the character set in ISO-2022-JP and similar encodings
_CANNOT_BE_TEXT = {
    re.compile(rb"version https://git-lfs"): ("a pointer of Git LFS", "fetch the file itself (git lfs pull)"),
    re.compile(rb"PK\x03\x04"): ("a zip archive or an office document", "take the text out of it"),
    re.compile(rb"PAR1"): ("a Parquet file", "read its folder with `kind: hub`"),
    re.compile(rb".{257}ustar", re.DOTALL): ("a tar archive", "unpack it (tar -xf)"),
}


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a file, see `decode_lines`; raises an `InputError` if the file cannot be read."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    return decode_lines(data, str(path))


def decode_lines(data: bytes, name: str) -> list[str]:
    r"""Return the lines of a text in UTF-8, without byte-order mark and line ends; `name` is used in error messages.

    The text may be compressed with gzip, bzip2, xz or zstd, which is detected from the first bytes. Only "\n" and
    "\r\n" end a line. `str.splitlines` would also split at U+2028, U+0085 and form feeds, which web text contains
    inside sentences, and parallel files would lose their alignment. Raises an `InputError` for damaged files and for
    other file types and encodings.
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
            "convert the file (iconv -f ... -t utf-8) or correct the line"
        ) from None
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _decompress(data: bytes, name: str) -> bytes:
    """Return the content of compressed data; return other data unchanged."""
    for start, (form, decompress) in _COMPRESSED.items():
        if start.match(data):
            try:
                return decompress(data)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise InputError(
                    f"{name}: expected a complete {form} file, found a damaged one ({error}); fetch or make it again"
                ) from None
    return data


def _join_streams(new_decompressor: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor], data: bytes) -> bytes:
    """Return the content of concatenated streams, which may have zeros as padding.

    `bz2.decompress` and `lzma.decompress` raise no error for a damaged stream after the first. They silently drop it
    and all later ones.
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
    import pyarrow  # slow: takes a third of a second

    return pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd").read()


def _check_form(data: bytes, name: str) -> None:
    """Raise an `InputError` if the data are of another known file type or encoding."""
    for start, (form, remedy) in _CANNOT_BE_TEXT.items():
        if start.match(data):
            raise InputError(f"{name}: expected text, found {form}; {remedy}")
    if encoding := _other_encoding(data):
        raise InputError(
            f"{name}: expected UTF-8, found what looks like {encoding}; convert the file (iconv -f {encoding} -t UTF-8)"
        )


def _other_encoding(data: bytes) -> str | None:
    """Return the encoding of a text if it is certainly not UTF-8, else None."""
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return encoding
    sample = data[:_SAMPLE]
    if _ESCAPE.search(sample) and sample.isascii():
        return "ISO-2022-JP"
    if b"\0" not in sample or _reads_as_utf8(sample):
        return None
    ascii_counts = {encoding: _count_ascii(sample, encoding) for encoding in _MARKS.values()}
    likeliest = max(ascii_counts, key=ascii_counts.__getitem__)
    return likeliest if ascii_counts[likeliest] else None


def _reads_as_utf8(sample: bytes) -> bool:
    """Tell whether a sample is UTF-8 with few control characters."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return sum(character < " " and character not in "\t\r\n" for character in text) < _CONTROL * len(text)


def _count_ascii(sample: bytes, encoding: str) -> int:
    r"""Return the number of ASCII characters in a sample decoded with `encoding` (UTF-16 or UTF-32); 0 if the sample is
    probably not in this encoding.

    In these encodings, the characters with zero bytes are mostly ASCII characters, such as line ends. UTF-8 text with
    zero bytes does not pass as UTF-16: it loses its line ends, and its spaces become unprintable characters.
    """
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample)  # the sample may end inside a character
    except UnicodeDecodeError:
        return 0
    printable = sum(character.isprintable() or character in "\t\r\n\ufeff\u3000\xa0\u200c\u200d" for character in text)
    is_likely = printable >= _PRINTABLE * len(text) and 2 * text.count("\n") >= sample.count(b"\n")
    return sum(map(str.isascii, text)) if is_likely else 0


# The keys match the first bytes of a file. No UTF-8 text begins with these bytes. For bzip2, the pattern is longer than
# "BZh", because a text could begin with "BZh".
_COMPRESSED: dict[re.Pattern, tuple[str, Callable[[bytes], bytes]]] = {
    re.compile(rb"\x1f\x8b"): ("gzip", gzip.decompress),
    # The second alternative is an empty file.
    re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"): ("bzip2", partial(_join_streams, bz2.BZ2Decompressor)),
    re.compile(rb"\xfd7zXZ\x00"): ("xz", partial(_join_streams, lzma.LZMADecompressor)),
    # The second alternative is a skippable frame.
    re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"): ("zstd", _unzstd),
}
