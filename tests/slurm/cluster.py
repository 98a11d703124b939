"""A Slurm of one node on this machine, for tests: munged, slurmctld and slurmd of Debian's packages with everything in one folder.

    reason = missing()              why it cannot be started here, or None
    with Cluster(folder) as slurm:  slurm.environment for sbatch and friends; slurm.job(id), slurm.wait(id) ...

Runs in a PID and mount namespace of its own (enter_namespace): whatever happens to the test, the kernel ends every daemon, job
and rank with it, and nothing is seen by a Slurm that may run on the machine already. Needs root. Standard library only.
"""
import os
import shutil
import socket
import subprocess
import sys
import time

PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel", "mpirun", "unshare"]
INSIDE = "PVA_SLURM_TEST_INSIDE"
CPUS = 4  # told to Slurm, whatever there is: so that an array's tasks run side by side
GPUS = ["/dev/null", "/dev/zero"]  # Slurm wants a device file for each and does nothing with it without cgroups


def missing():
    """Why no Slurm can be started here, or None."""
    if os.geteuid() != 0:
        return "slurmd needs root"
    absent = [name for name in PROGRAMS if shutil.which(name, path=SEARCH) is None]
    if absent:
        return f"{', '.join(absent)} not installed (Debian: apt-get install munge slurmctld slurmd slurm-client)"
    if subprocess.run(["unshare", "--pid", "--mount", "--fork", "--mount-proc", "true"], capture_output=True).returncode != 0:
        return "this machine allows no PID namespace"
    return None


SEARCH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


def enter_namespace():
    """Starts this program again inside namespaces that end with it; returns only inside."""
    if INSIDE in os.environ:
        return
    os.environ[INSIDE] = "1"
    # A shell is the namespace's first process, because it reaps what others leave; Python would keep them as zombies.
    os.execvp("unshare", ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "bash", "-c", '"$@"; exit $?', "bash",
                          sys.executable, "-u", *sys.argv])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    def __init__(self, folder):
        self.folder = folder
        self.daemons = []
        self.environment = dict(os.environ, PATH=SEARCH, SLURM_CONF=os.path.join(folder, "slurm.conf"), OMPI_ALLOW_RUN_AS_ROOT="1",
                                OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
        # Of a Slurm that runs this test as a job.
        for name in [n for n in self.environment if n.startswith(("SLURM_", "SBATCH_", "SRUN_", "PMI", "OMPI_COMM", "PVA_")) and n != "SLURM_CONF"]:
            del self.environment[name]

    def __enter__(self):
        host = socket.gethostname().split(".")[0]
        os.chmod(self.folder, 0o755)  # munged wants its folders unwritable for others and its socket reachable
        for name in ("munge", "state", "spool"):
            os.makedirs(os.path.join(self.folder, name), mode=0o755)
        munge = os.path.join(self.folder, "munge")
        with open(os.path.join(munge, "key"), "wb") as file:
            file.write(os.urandom(128))
        os.chmod(os.path.join(munge, "key"), 0o600)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
        with open(os.path.join(self.folder, "gres.conf"), "w") as file:
            for device in GPUS:
                file.write(f"NodeName={host} Name=gpu File={device}\n")
        with open(self.environment["SLURM_CONF"], "w") as file:
            file.write(f"""ClusterName=pva
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
AuthType=auth/munge
AuthInfo=socket={munge}/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd.pid
SlurmctldLogFile={self.folder}/slurmctld.log
SlurmdLogFile={self.folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=pmix
ReturnToService=2
KillWait=5
MailProg=/bin/true
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory={memory} Gres=gpu:{len(GPUS)} State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=60 State=UP
PartitionName=other Nodes={host} MaxTime=60 State=UP
""")
        self.start(["munged", "--foreground", f"--socket={munge}/socket", f"--key-file={munge}/key", f"--pid-file={munge}/pid",
                    f"--log-file={munge}/log", f"--seed-file={munge}/seed"])
        self.until(lambda: os.path.exists(munge + "/socket"), "munged opens its socket", 20)
        self.start(["slurmctld", "-D"])
        self.start(["slurmd", "-D"])
        self.until(lambda: "idle" in self.run("sinfo", "-h", "-o", "%T", check=False).stdout, "the node becomes idle", 60)
        return self

    def __exit__(self, *_):
        subprocess.run(["scancel", "--full", "--signal=KILL", "--user=root"], env=self.environment, capture_output=True, timeout=20)
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in reversed(self.daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()

    def start(self, command):
        log = open(os.path.join(self.folder, command[0] + ".out"), "wb")
        self.daemons.append(subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def until(self, condition, what, seconds):
        end = time.monotonic() + seconds
        while not condition():
            for daemon in self.daemons:
                if daemon.poll() is not None:
                    raise RuntimeError(f"{daemon.args[0]} ended with {daemon.returncode}")
            if time.monotonic() > end:
                raise RuntimeError(f"not within {seconds} s: {what}")
            time.sleep(0.1)

    def logs(self):
        text = ""
        for name in sorted(os.listdir(self.folder)):
            if name.endswith((".log", ".out")):
                with open(os.path.join(self.folder, name), errors="replace") as file:
                    text += f"--- {name}\n{file.read()[-2500:]}\n"
        return text

    def run(self, *command, check=True, cwd=None, timeout=120, **environment):
        result = subprocess.run(command, env={**self.environment, **environment}, cwd=cwd, capture_output=True, text=True, timeout=timeout)
        if check and result.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {result.returncode}: {result.stdout}{result.stderr}")
        return result

    def job(self, number):
        """What Slurm says about a job: JobState, ExitCode, Restarts, ... as text."""
        shown = self.run("scontrol", "--oneliner", "show", "job", str(number)).stdout
        return dict(word.split("=", 1) for word in shown.split() if "=" in word)

    def wait(self, number, states=("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"), seconds=150):
        """Waits until a job is in one of the states; returns what Slurm says about it then."""
        end = time.monotonic() + seconds
        while True:
            job = self.job(number)
            if job["JobState"] in states:
                return job
            if time.monotonic() > end:
                raise RuntimeError(f"job {number} is {job['JobState']} ({job.get('Reason')}) after {seconds} s, not {states}")
            time.sleep(0.2)
