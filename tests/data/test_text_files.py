"""Text files: UTF-8, plain or compressed; other encodings and formats are refused."""

import bz2
import codecs
import gzip
import lzma
import random

import pyarrow
import pytest

from skipclm.data.text_files import decode_lines, read_lines
from skipclm.errors import InputError

MARKS = {
    "UTF-16LE": codecs.BOM_UTF16_LE,
    "UTF-16BE": codecs.BOM_UTF16_BE,
    "UTF-32LE": codecs.BOM_UTF32_LE,
    "UTF-32BE": codecs.BOM_UTF32_BE,
}
TEXTS = {
    "english": "I'd like a cup of tea.\nWhere is the station?\n",
    "german": "Übermorgen fährt er weg.\r\nDas heißt: für uns.\r\n",
    "chinese": "他每天早上都去公园跑步。\n我不知道他为什么没有来。\n上海的夏天很热，大家都在家里。\n",
    "turkish": "Yarın İstanbul'a gidiyoruz.\tWe go tomorrow.\nÇok güzel.\tVery nice.\n",
    "emoji": "Well done 👍\nGood 👩\u200d🚀\n",
    "a line": "One line",
}


def zstd(data):
    """Compress data with zstd."""
    stream = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(stream, "zstd") as file:
        file.write(data)
    return stream.getvalue().to_pybytes()


COMPRESS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd}


# Lines


def test_only_newlines_end_a_line():
    text = "\ufeffa\u2028b\x85c\x0bd\x0ce\r\n\r\nlast\rline"
    assert decode_lines(text.encode(), "a") == ["a\u2028b\x85c\x0bd\x0ce", "", "last\rline"]


@pytest.mark.parametrize(("text", "expected"), [("", []), ("a", ["a"]), ("a\n", ["a"]), ("\n\n", ["", ""])])
def test_last_newline_starts_no_line(text, expected):
    assert decode_lines(text.encode(), "a") == expected


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.txt cannot be read: No such file"):
        read_lines(tmp_path / "gone.txt")


# Encodings


def test_invalid_utf8_error_names_file_and_line(tmp_path):
    path = tmp_path / "latin1.txt"
    path.write_bytes(b"\xef\xbb\xbfgut\n\nsch\xf6n\n")
    with pytest.raises(InputError, match=r"latin1\.txt, line 3: expected UTF-8, found the byte 0xf6"):
        read_lines(path)


@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("encoding", MARKS)
@pytest.mark.parametrize("text", TEXTS)
def test_utf16_and_utf32_are_refused(text, encoding, mark):
    data = MARKS[encoding] * mark + TEXTS[text].encode(encoding)
    with pytest.raises(InputError, match=rf"a\.txt: expected UTF-8, found what looks like {encoding}; .*iconv"):
        decode_lines(data, "a.txt")


def test_long_utf16_text_is_recognised_from_its_beginning():
    data = ("👍" * 20000 + "\nTwo\n").encode("UTF-16LE")
    with pytest.raises(InputError, match="UTF-16LE"):
        decode_lines(b"\n\0" + data, "a.txt")


@pytest.mark.parametrize("encoding", ["iso2022_jp", "iso2022_kr"])
def test_iso2022_is_refused(encoding):
    text = {"iso2022_jp": "日本語です。\n", "iso2022_kr": "한국어\n"}[encoding]
    with pytest.raises(InputError, match="looks like ISO-2022"):
        decode_lines(text.encode(encoding), "a.txt")


@pytest.mark.parametrize("text", [name for name in TEXTS if name != "a line"])
def test_utf8_with_control_characters_is_read(text):
    chance = random.Random(1)
    for _ in range(50):
        data = bytearray((TEXTS[text] * 2).encode())
        for byte in b"\0\x07\x1b":
            data.insert(chance.choice([i for i, character in enumerate(data) if character < 0x80]), byte)
        assert len(decode_lines(bytes(data), "a.txt")) == 2 * TEXTS[text].count("\n")


@pytest.mark.parametrize("data", [b"Hello \0you", b"abcd\0efg", b"x" * 40 + b"\0" + b"y" * 39])
def test_single_line_of_utf8_with_a_zero_is_read(data):
    assert decode_lines(data, "a.txt") == [data.decode()]


@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE"])
@pytest.mark.parametrize("text", ["ฉันอยากดื่มชาสักถ้วยเพราะว่าอากาศหนาวมาก\n", "Я не знаю.\n", "中一\n"])
def test_utf16_with_few_zeros_is_refused(text, encoding):
    with pytest.raises(InputError, match=encoding):
        decode_lines(text.encode(encoding), "a.txt")


@pytest.mark.parametrize("encoding", ["latin-1", "gb18030", "big5", "shift_jis", "koi8-r"])
def test_other_encodings_are_not_reported_as_utf16(encoding):
    text = {"latin-1": TEXTS["german"], "koi8-r": "Где вокзал?\nЯ не знаю.\n"}.get(encoding, TEXTS["chinese"])
    with pytest.raises(InputError, match="line 1: expected UTF-8, found the byte"):
        decode_lines(text.encode(encoding, "replace"), "a.txt")


# Compressed text


@pytest.mark.parametrize("form", COMPRESS)
def test_compressed_text_is_read_by_its_content(tmp_path, form):
    path = tmp_path / "text"
    path.write_bytes(COMPRESS[form](b"\xef\xbb\xbfone\n") + COMPRESS[form]("zwö\r\n\n".encode()))
    assert read_lines(path) == ["one", "zwö", ""]


@pytest.mark.parametrize("form", COMPRESS)
@pytest.mark.parametrize("damage", [lambda data: data[:-6], lambda data: data[:12], lambda data: data + data[:12]])
def test_damaged_archive_is_an_error_of_one_line(form, damage):
    data = COMPRESS[form]("".join(f"line {number}\n" for number in range(99)).encode())
    with pytest.raises(InputError, match=rf"^a\.gz: expected a complete {form} file, found a damaged one .*again$"):
        decode_lines(damage(data), "a.gz")


@pytest.mark.parametrize("form", ["gzip", "bzip2", "xz"])  # zstd from pyarrow has no checksums
@pytest.mark.parametrize("damaged", [0, 1, 3])
def test_damage_in_any_stream_is_detected(form, damaged):
    streams = [bytearray(COMPRESS[form](f"line {number}\n".encode() * 99)) for number in range(4)]
    assert len(decode_lines(b"".join(streams), "a")) == 4 * 99
    streams[damaged][len(streams[damaged]) // 2] ^= 8
    with pytest.raises(InputError, match="found a damaged one"):
        decode_lines(b"".join(streams), "a")


@pytest.mark.parametrize("form", ["bzip2", "xz"])
def test_data_after_the_last_stream_is_refused(form):
    with pytest.raises(InputError, match="found a damaged one"):
        decode_lines(COMPRESS[form](b"one\n") + b"garbage", "a")


def test_streams_of_xz_may_be_padded():
    streams = [lzma.compress(f"{number}\n".encode()) for number in range(3)]
    data = streams[0] + bytes(4) + streams[1] + bytes(8) + streams[2] + bytes(4)
    assert decode_lines(data, "a.xz") == ["0", "1", "2"]


@pytest.mark.parametrize("form", COMPRESS)
def test_other_encoding_in_an_archive_is_refused(form):
    with pytest.raises(InputError, match="UTF-16BE"):
        decode_lines(COMPRESS[form](TEXTS["german"].encode("UTF-16BE")), "a.gz")


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (b"PK\x03\x04rest", "a zip archive"),
        (b"PAR1rest", "a Parquet file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", "a pointer of Git LFS"),
        (gzip.compress(b"a.txt" + bytes(252) + b"ustar\x0000" + bytes(248), mtime=0), "a tar archive"),
    ],
    ids=["zip", "parquet", "LFS", "tar"],
)
def test_file_that_is_not_text_is_refused(data, form):
    with pytest.raises(InputError, match=rf"a: expected text, found {form}"):
        decode_lines(data, "a")


def test_text_may_begin_like_an_archive():
    assert decode_lines(b"BZh9 is a name.\nPK\n", "a") == ["BZh9 is a name.", "PK"]


def test_empty_archive_has_no_lines():
    assert [decode_lines(compress(b""), "a") for compress in COMPRESS.values()] == [[]] * len(COMPRESS)


def test_skippable_frame_of_zstd_is_skipped():
    frame = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"skip"
    assert decode_lines(frame + COMPRESS["zstd"](b"one\ntwo\n"), "a.zst") == ["one", "two"]
