"""Leases of devices: exclusive and shared ones, and their release when a job ends."""

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
    """A separate folder of locks for each test, outside of Slurm."""
    monkeypatch.setattr(devices.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def start(seconds, count=1, jobs_per_device=1, **environment):
    """Start a process that leases devices for some seconds."""
    command = [sys.executable, "-c", JOB, str(count), str(jobs_per_device), str(seconds)]
    return subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True)


def spans(jobs):
    """Wait for processes to end; return (device, start, end) of all their leases."""
    leases = []
    for job in jobs:
        output, _ = job.communicate(timeout=60)
        assert job.returncode == 0
        (_, *names, began), (_, *same, ended) = (line.split() for line in output.splitlines()[1:])
        assert names == same
        leases += [(name, float(began), float(ended)) for name in names]
    return leases


def most_at_once(leases):
    """Return the largest number of simultaneous leases of each device."""
    times = {device: [interval for name, *interval in leases if name == device] for device, *_ in leases}
    return {
        device: max(sum(start <= time < end for start, end in intervals) for time, _ in intervals)
        for device, intervals in times.items()
    }


@pytest.mark.slow
def test_eight_jobs_on_three_devices_never_share_one():
    leases = spans([start(0.3, CUDA_VISIBLE_DEVICES="0,1,2") for _ in range(8)])
    assert len(leases) == 8
    assert most_at_once(leases) == {"0": 1, "1": 1, "2": 1}


@pytest.mark.slow
def test_shared_devices_and_several_devices_per_job():
    assert most_at_once(spans([start(0.5, 1, 2, CUDA_VISIBLE_DEVICES="7") for _ in range(4)])) == {"7": 2}
    assert most_at_once(spans([start(3, 1, 2, CUDA_VISIBLE_DEVICES="0,1") for _ in range(2)])) == {"0": 1, "1": 1}
    leases = spans([start(0.3, 2, CUDA_VISIBLE_DEVICES="0,1,2") for _ in range(4)])
    assert len(leases) == 8
    assert max(most_at_once(leases).values()) == 1


def test_inherited_list_of_devices_is_respected(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    with devices.lease() as names:
        assert names == ["2"]
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"
        assert [name for name, *_ in spans([start(0, CUDA_VISIBLE_DEVICES="2,5")])] == ["5"]
    with devices.lease(2) as both:
        assert both == ["2", "5"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,5"


def test_names_may_be_uuids(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937, MIG-GPU-1/2/0")
    with devices.lease(2) as names:
        assert names == ["GPU-8932f937", "MIG-GPU-1/2/0"]


def test_device_of_a_killed_job_is_free_again(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    holder = start(60)
    assert holder.stdout.readline() == "leased: device 5\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    started = time.monotonic()
    with devices.lease() as names:
        assert names == ["5"]
    assert time.monotonic() - started < 5


def test_no_device_is_leased_if_there_is_none(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with devices.lease() as names:
        assert names == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    with devices.lease(0) as names:
        assert names == []
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,2"


def test_more_devices_than_exist_are_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    with pytest.raises(InputError, match=r"expected 3 devices for one job, found 2 \(1, 2\)"), devices.lease(3):
        pass


def test_slurm_jobs_do_not_share_locks(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    holder = start(60, SLURM_JOB_ID="17")
    try:
        assert holder.stdout.readline() == "leased: device 0\n"
        monkeypatch.setenv("SLURM_JOB_ID", "18")  # Slurm numbers devices per job: this is another device 0
        with devices.lease() as names:
            assert names == ["0"]
    finally:
        holder.kill()
        holder.wait()


@pytest.mark.parametrize("kind", ["file", "link to a folder", "dangling link", "another user's", "without rights"])
def test_lock_folder_must_be_a_writable_folder_of_the_user(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    folder = tmp_path / f"skipclm-devices-{os.getuid()}"
    if kind == "file":
        folder.touch()
    elif "link" in kind:
        (tmp_path / "theirs").mkdir()
        folder.symlink_to(tmp_path / ("theirs" if kind == "link to a folder" else "gone"))
    else:
        folder.mkdir()
    if kind == "without rights":
        monkeypatch.setattr(devices.os, "access", lambda *_: False)  # root can write anywhere
    if kind == "another user's":
        lstat = type(folder).lstat
        monkeypatch.setattr(type(folder), "lstat", lambda path: _owned_by_another(lstat(path)))
    with pytest.raises(InputError) as caught, devices.lease():
        pass
    assert str(caught.value).startswith(f"expected a folder of this user at {folder}, for the locks of GPUs, found ")
    assert not list(tmp_path.glob("theirs/*"))
    assert not (tmp_path / "gone").exists()


def _owned_by_another(status):
    return os.stat_result([*status[:4], status.st_uid + 1, *status[5:10]])


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
def test_invalid_device_hides_the_following_ones(monkeypatch, value, names):
    monkeypatch.setenv(devices.VARIABLE, value)
    assert devices.visible() == names
