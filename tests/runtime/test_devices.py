"""Devices are leased to one job at a time, in whole or in shares, and are free again when their holder is gone."""

import os
import signal
import subprocess
import sys
import time

import pytest

from skipclm.errors import InputError
from skipclm.runtime import devices

JOB = """
import os, sys, time
from skipclm.runtime import devices
with devices.lease(int(sys.argv[1]), int(sys.argv[2])) as names:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(names)
    print("took", *names, time.monotonic(), flush=True)
    time.sleep(float(sys.argv[3]))
    print("gave", *names, time.monotonic(), flush=True)
"""


@pytest.fixture(autouse=True)
def locks(tmp_path, monkeypatch):
    """Locks of each test's own, and no Slurm."""
    monkeypatch.setattr(devices.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def start(seconds, count=1, jobs_per_device=1, **environment):
    """Start a process that leases and holds."""
    command = [sys.executable, "-c", JOB, str(count), str(jobs_per_device), str(seconds)]
    return subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True)


def spans(jobs):
    """Return (device, from, to) of all leases of processes that end by themselves."""
    found = []
    for job in jobs:
        output, _ = job.communicate(timeout=60)
        assert job.returncode == 0
        (_, *names, began), (_, *same, ended) = (line.split() for line in output.splitlines()[1:])
        assert names == same
        found += [(name, float(began), float(ended)) for name in names]
    return found


def most_at_once(found):
    """Return for each device the number of leases that it had at a time, at most."""
    names = {name for name, *_ in found}
    return {
        name: max(sum(a <= began < b for each, a, b in found if each == name) for n, began, _ in found if n == name)
        for name in names
    }


@pytest.mark.slow
def test_eight_jobs_on_three_devices_never_share_one():
    found = spans([start(0.3, CUDA_VISIBLE_DEVICES="0,1,2") for _ in range(8)])
    assert len(found) == 8
    assert most_at_once(found) == {"0": 1, "1": 1, "2": 1}


@pytest.mark.slow
def test_shares_and_several_devices_a_job():
    assert most_at_once(spans([start(0.5, 1, 2, CUDA_VISIBLE_DEVICES="7") for _ in range(4)])) == {"7": 2}
    assert most_at_once(spans([start(3, 1, 2, CUDA_VISIBLE_DEVICES="0,1") for _ in range(2)])) == {"0": 1, "1": 1}
    found = spans([start(0.3, 2, CUDA_VISIBLE_DEVICES="0,1,2") for _ in range(4)])
    assert len(found) == 8
    assert max(most_at_once(found).values()) == 1


def test_an_inherited_list_is_kept_to(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    with devices.lease() as names:
        assert names == ["2"]
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"
        assert [name for name, *_ in spans([start(0, CUDA_VISIBLE_DEVICES="2,5")])] == ["5"]
    with devices.lease(2) as both:
        assert both == ["2", "5"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,5"


def test_names_may_be_those_of_the_maker(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937, MIG-GPU-1/2/0")
    with devices.lease(2) as names:
        assert names == ["GPU-8932f937", "MIG-GPU-1/2/0"]


def test_a_killed_holders_device_is_free_again(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    holder = start(60)
    assert holder.stdout.readline() == "leased: device 5\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    started = time.monotonic()
    with devices.lease() as names:
        assert names == ["5"]
    assert time.monotonic() - started < 5


def test_where_there_is_none_none_is_leased(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with devices.lease() as names:
        assert names == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    with devices.lease(0) as names:
        assert names == []
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,2"


def test_more_than_there_are_are_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    with pytest.raises(InputError, match=r"expected 3 devices for one job, found 2 \(1, 2\)"), devices.lease(3):
        pass


def test_a_slurm_job_has_its_devices_for_itself(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    holder = start(60, SLURM_JOB_ID="17")
    try:
        assert holder.stdout.readline() == "leased: device 0\n"
        monkeypatch.setenv("SLURM_JOB_ID", "18")  # another device of the same number, as Slurm counts them
        with devices.lease() as names:
            assert names == ["0"]
    finally:
        holder.kill()
        holder.wait()


@pytest.mark.parametrize("kind", ["file", "link to a folder", "dangling link", "another user's", "without rights"])
def test_locks_are_kept_in_no_place_but_a_folder_of_the_users_own(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    place = tmp_path / f"skipclm-devices-{os.getuid()}"
    if kind == "file":
        place.touch()
    elif "link" in kind:
        (tmp_path / "theirs").mkdir()
        place.symlink_to(tmp_path / ("theirs" if kind == "link to a folder" else "gone"))
    else:
        place.mkdir()
    if kind == "without rights":
        monkeypatch.setattr(devices.os, "access", lambda *_: False)  # root may write anywhere
    if kind == "another user's":
        lstat = type(place).lstat
        monkeypatch.setattr(type(place), "lstat", lambda path: _owned_by_another(lstat(path)))
    with pytest.raises(InputError) as caught, devices.lease():
        pass
    assert str(caught.value).startswith(f"expected a folder of this user at {place}, for the locks of GPUs, found ")
    assert not list(tmp_path.glob("theirs/*"))
    assert not (tmp_path / "gone").exists()


def _owned_by_another(found):
    return os.stat_result([*found[:4], found.st_uid + 1, *found[5:10]])


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("2,5", ["2", "5"]),
        ("", []),
        ("-1", []),
        ("0,-1,2", ["0"]),
        ("NoDevFiles", []),
        (" 1 , GPU-ab", ["1", "GPU-ab"]),
    ],
)
def test_what_is_no_device_hides_what_follows(monkeypatch, value, names):
    monkeypatch.setenv(devices.VARIABLE, value)
    assert devices.visible() == names
