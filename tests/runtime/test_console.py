"""Printing in processes with closed, full or broken outputs, or with another encoding."""

import os
import subprocess
import sys

import pytest

REDIRECTIONS = {
    "closed": ">&-",
    "full": ">/dev/full",
    "gone": "| (exec <&-; sleep 0.5)",
    "no room for errors": "2>/dev/full",
}


def run(code, redirection="", **variables):
    """Run Python code with a redirection of the shell; return its status, output and messages."""
    script = f"import os, sys\nfrom skipclm.runtime import console\n{code}\n"
    command = ["bash", "-c", f'set -o pipefail; "$0" -c "$1" {redirection}', sys.executable, script]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONUNBUFFERED": ""} | variables, capture_output=True, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("redirection", REDIRECTIONS.values(), ids=REDIRECTIONS)
@pytest.mark.parametrize("text", ["'a line'", "'a line\\n' * 50_000"], ids=["short", "long"])
def test_unwritable_message_does_not_end_the_program(redirection, text):
    code = f"import time; time.sleep(0.2); console.show({text}); console.show('more'); console.print_error('on')"
    status, _, messages = run(f"{code}\nconsole.flush_outputs()", redirection)
    assert status == 0
    assert messages == ("" if "2>" in redirection else "on\n")


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", "f\\xfcr \\u4f60"), ("latin-1:strict", None), ("utf-8", "für 你")],
)
def test_characters_missing_in_the_encoding_are_escaped(encoding, shown):
    status, output, messages = run(
        "console.show('für 你')", "| iconv -f latin1 -t utf-8" if shown is None else "", PYTHONIOENCODING=encoding
    )
    assert (status, messages) == (0, "")
    assert output == (shown or "für \\u4f60")


def test_unwritable_result_is_an_input_error():
    code = "try:\n    console.write('a')\nexcept console.InputError as error:\n    print(error, file=sys.stderr)"
    assert run(code, ">/dev/full") == (
        0,
        "",
        "standard output: expected an output that can be written, found: No space left on device; redirect it "
        "elsewhere\n",
    )


def test_broken_pipe_ends_the_program_quietly():
    code = "import time; time.sleep(0.2)\nconsole.write('a')\nos.write(2, b'goes on')"
    assert run(code, REDIRECTIONS["gone"]) == (141, "", "")


def test_missing_outputs_are_opened_before_a_file_gets_their_number(tmp_path):
    code = f"""
missing = console.open_outputs()
with open({str(tmp_path / "data")!r}, "w") as file:
    print("printed")
    print("printed", file=sys.stderr)
    os.system("echo from a child; echo and from a child >&2")
    file.write(",".join(missing))
"""
    assert run(code, ">&- 2>&-") == (0, "", "")
    assert (tmp_path / "data").read_text() == "stdout,stderr"
    assert run(code, "<&- >&-")[0] == 0
    assert (tmp_path / "data").read_text() == "stdout"
    assert sorted(run(code)[1].splitlines()) == ["from a child", "printed"]
    assert (tmp_path / "data").read_text() == ""


def test_file_with_the_number_of_a_missing_output_stays_open(tmp_path):
    code = f"""
file = open({str(tmp_path / "data")!r}, "w")
assert file.fileno() == 1
console.open_outputs()
print("printed", flush=True)
file.write("written")
"""
    assert run(code, ">&-") == (0, "", "")
    assert (tmp_path / "data").read_text() == "written"


@pytest.mark.parametrize("redirection", [">/dev/full", "2>/dev/full", ">/dev/full 2>&1"])
def test_unwritable_buffer_does_not_fail_at_the_end(redirection):
    code = "print('out'); sys.stderr.write('err')"
    assert run(f"{code}\nconsole.flush_outputs()", redirection)[0] == 0


def test_unwritable_complaint_raises_nothing():
    assert run("console.print_error('a'); console.flush_outputs()", "2>/dev/full") == (0, "", "")
    assert run("console.print_error('a')") == (0, "", "a\n")
