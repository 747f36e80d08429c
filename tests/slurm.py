"""A temporary Slurm cluster of two nodes on this machine, with its own daemons and folder."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
NODES = ("node1", "node2")

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
KillWait=10
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=64000
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=64000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


# The default place of the configuration. An environment variable is not enough, because the executor hides Slurm's
# variables from its jobs.
STANDARD = Path("/etc/slurm/slurm.conf")


def is_possible():
    """Return whether Slurm is installed, has no configuration yet, and can be configured by this user."""
    return all(map(_daemon, DAEMONS)) and not STANDARD.exists() and os.access(STANDARD.parent, os.W_OK)


def _daemon(name):
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


class Slurm:
    """Context manager that starts the cluster and stops it."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = []

    def __enter__(self):
        (self.folder / "state").mkdir(parents=True)
        for node in NODES:
            (self.folder / f"spool.{node}").mkdir()
        facts = {
            "host": socket.gethostname(),
            "user": getpass.getuser(),
            "folder": self.folder,
            "ports": _free_ports(3),
        }
        STANDARD.write_text(CONFIGURATION.format(**facts))
        (self.folder / "munge.key").write_bytes(os.urandom(1024))
        (self.folder / "munge.key").chmod(0o600)
        try:
            self._start_all()
        except (TimeoutError, KeyboardInterrupt):
            self.__exit__()
            raise
        return self

    def _start_all(self):
        files = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        paths = [f"--{option}={self.folder}/munge.{suffix}" for option, suffix in files.items()]
        self._start("munged", "--foreground", "--force", f"--key-file={self.folder}/munge.key", *paths)
        _wait_for((self.folder / "munge.socket").exists)
        self._start("slurmctld", "-D")
        for node in NODES:
            self._start("slurmd", "-D", "-N", node)
        _wait_for(lambda: self.states() == dict.fromkeys(NODES, "idle"))

    def __exit__(self, *_):
        subprocess.run(["scancel", "--user", getpass.getuser()], capture_output=True, check=False)
        for process in reversed(self.processes):
            process.terminate()
            process.wait()
        STANDARD.unlink()

    def _start(self, name, *arguments):
        with open(self.folder / f"{name}.out", "ab") as file:
            command = [_daemon(name), *arguments]
            self.processes.append(subprocess.Popen(command, stdout=file, stderr=file))

    def ask(self, *command):
        """Return the output of a Slurm command."""
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def states(self):
        """Return the state of each node."""
        try:
            lines = self.ask("sinfo", "--noheader", "--Node", "--format=%N %T").split("\n")
        except subprocess.CalledProcessError:  # slurmctld has not started yet
            return {}
        return dict(line.split() for line in lines if line)

    def running(self):
        """Return the comments of the running jobs by job id; a comment names the run."""
        lines = self.ask("squeue", "--noheader", "--states=RUNNING", "--format=%i %k").split("\n")
        return dict(line.split(maxsplit=1) for line in lines if line)


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for listener in sockets:
        listener.bind(("127.0.0.1", 0))
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def _wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.2)
