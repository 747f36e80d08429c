"""Jobs in separate processes, as Snakemake runs them: logs, signals, attempts and parents."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skipclm.errors import InputError, TerminatedError
from skipclm.runtime import job_environment, jobs


def run_job(folder, body):
    """Run a script with `body` inside a job, as Snakemake does; return its status, its output and the log."""
    script = "import os, subprocess, sys\nfrom skipclm.runtime import jobs\nfrom skipclm.errors import InputError\n"
    script += f"with jobs.job('logs/a/job.log'):\n    {body}\n"
    environment = os.environ | {"PYTHONUNBUFFERED": "", "PYTHONIOENCODING": "ascii"}  # no unbuffered output, and ASCII
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    log = (folder / "logs/a/job.log").read_text(encoding="utf-8")
    return done.returncode, done.stdout + done.stderr, log


@pytest.mark.parametrize(
    ("body", "log"),
    [
        ("print('out'); print('err', file=sys.stderr); print('out')", "out\nerr\nout\n"),
        ("print('first'); os.write(1, b'from C\\n'); os.write(2, b'and C\\n'); print('last')", None),
        ("print('first'); subprocess.run(['echo', 'child']); print('last')", "first\nchild\nlast\n"),
        ("print('\\u4f60\\u597d')", "你好\n"),
        ("pass", ""),
    ],
)
def test_log_has_all_output_of_a_job_in_order(tmp_path, body, log):
    assert run_job(tmp_path, body) == (0, "", log if log is not None else "first\nfrom C\nand C\nlast\n")


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_log_has_all_output_whatever_the_redirection(tmp_path, redirection):
    script = """
import os, sys
from skipclm.runtime import jobs
with jobs.job("job.log"):
    print("out")
    print("err", file=sys.stderr)
    os.system("echo child; echo and its errors >&2")
    with open("data", "w") as file:
        file.write("data")
"""
    command = f'"$0" -c "$1" {redirection}'
    assert subprocess.run(["bash", "-c", command, sys.executable, script], cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "job.log").read_text(encoding="utf-8") == "out\nerr\nchild\nand its errors\n"
    assert (tmp_path / "data").read_text(encoding="utf-8") == "data"


def test_code_version_is_that_of_the_start_of_the_job(tmp_path):
    body = "from skipclm.runtime import checkout; checkout.digest = lambda: 'later'; print(checkout.version()['code'])"
    assert len(run_job(tmp_path, body)[2].strip()) == 16


def test_input_error_is_one_line_in_the_log(tmp_path):
    status = run_job(tmp_path, "print('reading'); raise InputError('a.tsv, line 3: expected two columns')")
    assert status == (1, "", "reading\nerror: a.tsv, line 3: expected two columns\n")


def test_other_error_is_a_traceback_in_the_log(tmp_path):
    status, output, log = run_job(tmp_path, "print('reading'); 1 / 0")
    assert (status, output) == (1, "")
    assert log.startswith("reading\nTraceback")
    assert log.endswith("ZeroDivisionError: division by zero\n")


def test_log_of_a_killed_job_is_complete(tmp_path):
    status, output, log = run_job(tmp_path, "print('step 1 of 2'); os.kill(os.getpid(), 9)")
    assert (status, output, log) == (-9, "", "step 1 of 2\n")


def test_second_attempt_starts_a_new_log_and_keeps_the_first(tmp_path):
    run_job(tmp_path, "print('failed')")
    assert not (tmp_path / "logs/a/job.log.before").exists()
    assert run_job(tmp_path, "print('fine')") == (0, "", "fine\n")
    assert (tmp_path / "logs/a/job.log.before").read_text(encoding="utf-8") == "failed\n"


def test_full_disk_is_one_line_in_the_log(tmp_path):
    body = f"raise OSError({errno.ENOSPC}, os.strerror({errno.ENOSPC}), 'model.safetensors')"
    message = "error: cannot read or write: [Errno 28] No space left on device: 'model.safetensors'; free some space, "
    assert run_job(tmp_path, body) == (1, "", message + "correct the permissions or repair the disk, and run again\n")


@pytest.mark.parametrize("ending", jobs.ENDINGS, ids=lambda ending: ending.name)
def test_terminated_job_removes_incomplete_files(tmp_path, ending):
    body = "\n    ".join(
        [
            "from skipclm.runtime import atomic",
            f"with atomic.new_file('a.txt'): os.kill(os.getpid(), {ending.value})",
        ]
    )
    status, _, log = run_job(tmp_path, body)
    assert (status, log.startswith("terminated; ")) == (128 + 15, True)
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_ignored_signal_does_not_end_a_job(tmp_path):
    script = (
        "import os, signal\nfrom skipclm.runtime import jobs\n"
        "with jobs.job('log'):\n    os.kill(os.getpid(), signal.SIGHUP)\n"
    )
    command = ["nohup", sys.executable, "-c", script]
    assert subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def test_signal_does_not_end_a_finishing_job(tmp_path):
    body = "jobs.finish(); [os.kill(os.getpid(), ending) for ending in jobs.ENDINGS]; print('done')"
    assert run_job(tmp_path, body) == (0, "", "done\n")


# Attempts


@pytest.fixture(autouse=True)
def under_one_snakemake(monkeypatch):
    monkeypatch.setenv(job_environment.INVOCATION, "one Snakemake")


def _attempt(note, error=None, allowed=2, progress=0):
    """Attempt a job that fails with `error`; return the reason of failure that it gets."""
    with jobs.limited_attempts(note, allowed, progress) as failure:
        if error and not failure:
            raise error
    return failure


def test_job_gets_the_reason_after_the_last_attempt(tmp_path):
    note = tmp_path / "run/attempt"
    for message in ("first", "out of memory\nand more"):
        with pytest.raises(RuntimeError):
            _attempt(note, RuntimeError(message))
    reason = _attempt(note)
    assert reason.startswith("RuntimeError: out of memory\nTraceback (most recent call last):\n")
    assert not note.exists()


def test_successful_job_leaves_no_note(tmp_path):
    note = tmp_path / "attempt"
    with pytest.raises(RuntimeError):
        _attempt(note, RuntimeError("bad luck"))
    assert _attempt(note) is None
    assert not note.exists()


def _be_killed(folder, before=""):
    lines = [
        "import os",
        "from skipclm.runtime import jobs",
        f"with jobs.limited_attempts('note', 2): {before}os.kill(os.getpid(), 9)",
    ]
    script = "\n".join(lines)
    assert subprocess.run([sys.executable, "-c", script], cwd=folder).returncode == -9


def test_killed_attempt_has_a_reason(tmp_path):
    _be_killed(tmp_path)
    assert _attempt(tmp_path / "note", allowed=1) == jobs.KILLED


def test_another_snakemake_starts_a_new_count(tmp_path, monkeypatch):
    for _ in range(2):
        _be_killed(tmp_path)
    monkeypatch.setenv(job_environment.INVOCATION, "another")
    assert _attempt(tmp_path / "note") is None


def test_only_deaths_without_progress_count(tmp_path):
    note = tmp_path / "note"
    for progress in (0, 10, 20):  # for example on machines that are taken away
        with pytest.raises(RuntimeError):
            _attempt(note, RuntimeError("bad luck"), progress=progress)
    with pytest.raises(RuntimeError):
        _attempt(note, RuntimeError("no luck"), progress=20)
    assert _attempt(note, progress=20).startswith("RuntimeError: no luck\n")


def test_incomplete_note_is_ignored(tmp_path):
    (tmp_path / "note").write_text('{"under": "one Snake')
    assert _attempt(tmp_path / "note", allowed=1) is None


def test_termination_followed_by_a_kill_is_not_a_death(tmp_path):
    for _ in range(3):
        _be_killed(tmp_path, before="jobs.record_signal(); ")
    assert _attempt(tmp_path / "note") is None


@pytest.mark.parametrize(
    "error",
    [
        InputError("a typo"),
        TerminatedError(),
        OSError(errno.ENOSPC, "No space left on device"),
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.ESTALE, "Stale file handle"),
        RuntimeError("basic_ios::clear: iostream error"),  # a full disk, in the last bytes
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),  # torch.save, disk full
    ],
)
def test_errors_outside_the_job_do_not_count_as_deaths(tmp_path, error):
    note = tmp_path / "attempt"
    for _ in range(3):
        with pytest.raises(type(error)):
            _attempt(note, error)
    assert not note.exists()
    with pytest.raises(RuntimeError):
        _attempt(note, RuntimeError("once"))
    with pytest.raises(type(error)):
        _attempt(note, error)
    assert _attempt(note) is None


def test_only_one_process_works_on_a_job_at_a_time(tmp_path):
    script = "\n".join(
        [
            "import sys, time",
            "from skipclm.runtime import jobs",
            "with jobs.limited_attempts('note', 2):",
            "    print('in', flush=True); time.sleep(0.3); print('out', flush=True)",
        ]
    )
    with open(tmp_path / "output", "a") as output:
        started = [subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stdout=output) for _ in range(4)]
        assert [process.wait() for process in started] == [0] * 4
    lines = (tmp_path / "output").read_text().splitlines()
    assert [line for line in lines if line in ("in", "out")] == ["in", "out"] * 4
    assert "waits for another process that works on note" in lines
    assert not (tmp_path / "note").exists()


def test_job_with_edited_code_does_nothing(tmp_path):
    (tmp_path / "script.py").write_text(
        "from skipclm.runtime import jobs\nwith jobs.job('log', __file__, 'planned'): open('made', 'w')"
    )
    assert subprocess.run([sys.executable, "script.py"], cwd=tmp_path).returncode == 1
    assert (tmp_path / "log").read_text().startswith("error: expected the code of script.py as it was")
    assert not (tmp_path / "made").exists()


# Parents

PARENT = """
import subprocess, sys, time
code = "from skipclm.runtime import jobs; import time; jobs.PAUSE = 0.05; "
code += "jobs.end_with_parents(); print('up', flush=True); "
subprocess.run(["sh", "-c", f'"{sys.executable}" -c "{code} time.sleep(60)"; true'])
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="jobs find their parents in /proc")
@pytest.mark.parametrize(("name", "ends"), [("snakemake", True), ("another", False)])
def test_job_ends_when_its_snakemake_is_killed(tmp_path, name, ends):
    (tmp_path / name).write_text(PARENT)
    with subprocess.Popen([sys.executable, tmp_path / name], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "up\n"
        job = _below(_below(parent.pid))
        parent.kill()
    time.sleep(0.6)
    assert Path(f"/proc/{job}").exists() is not ends
    if not ends:
        os.kill(job, signal.SIGKILL)


def _below(process):
    return int(Path(f"/proc/{process}/task/{process}/children").read_text().split()[0])
