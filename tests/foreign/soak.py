"""Works in a mount for a while, under role sessions of 20 seconds and an STS that fails every second call.

    soak.py S3XMOUNT MINUTES [SEED]

fio, rsync and find run side by side; a single error of any of them is a failure, and so is a number of calls to STS
that the schedule of renewals does not explain. Signatures of the requests to STS cover the host, which the
unreliable door changes; ministack does not mind.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).parent
PROGRAM, MINUTES = sys.argv[1], float(sys.argv[2])
SEED = sys.argv[3] if len(sys.argv) > 3 else "1"
SESSION = 20
FIO = """[global]
directory={directory}
ioengine=psync
fallocate=none
end_fsync=1
verify=crc32c
[sequential]
rw=write
bs=128k
size=24m
[random]
rw=randwrite
bs=16k
size=4m
"""


def start(*command):
    """A helper process that ends with its standard input, and its first line."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def mounted(path):
    return any(line.split()[4] == str(path) for line in open("/proc/self/mountinfo"))


class Worker(threading.Thread):
    """Does one thing again and again until time is up, and counts how often it failed."""

    def __init__(self, name, deadline, once):
        super().__init__(name=name)
        self.deadline, self.once, self.rounds, self.errors = deadline, once, 0, []

    def run(self):
        while time.monotonic() < self.deadline:
            try:
                self.once(self.rounds)
            except Exception as error:
                self.errors.append(f"round {self.rounds}: {error}")
            self.rounds += 1


def run(*command, cwd=None):
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout)[-400:]}")
    return done.stdout


def workers(work, scratch, deadline):
    source = scratch / "source"
    for number in range(200):
        file = source / f"{number % 10}" / f"{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(1000 + 37 * number))
    expected = sorted(str(path.relative_to(source)) for path in source.rglob("*"))

    def fio(round_):
        directory = work / "fio"
        directory.mkdir(exist_ok=True)
        job = scratch / "job.fio"
        job.write_text(FIO.format(directory=directory))
        # It leaves the state of its verification where it runs.
        run("fio", "--minimal", str(job), cwd=scratch)
        for file in directory.iterdir():
            file.unlink()

    def rsync(round_):
        target = work / f"copy-{round_ % 2}"
        run("rsync", "-a", "--delete", f"{source}/", f"{target}/")
        run("diff", "-r", str(source), str(target))
        run("rm", "-r", str(target))

    # A tree that stays, so that what is found can be compared.
    run("rsync", "-a", f"{source}/", f"{work / 'stays'}/")

    def find(round_):
        found = run("find", str(work / "stays"), "-mindepth", "1", "-printf", "%P\\n").split()
        if sorted(found) != expected:
            raise RuntimeError(f"{len(found)} names were found, and there are {len(expected)}")
        time.sleep(0.5)

    return [Worker("fio", deadline, fio), Worker("rsync", deadline, rsync), Worker("find", deadline, find)]


def main():
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="s3xmount-soak-")).resolve()
    mount_point, log = scratch / "mnt", scratch / "log"
    mount_point.mkdir()
    server, url = start(sys.executable, str(HERE / "server.py"))
    keys = json.loads(subprocess.check_output([sys.executable, str(HERE / "accounts.py"), url]))["alice"]
    door, door_url = start(sys.executable, str(HERE / "unreliable.py"), url, SEED)
    fates = []
    threading.Thread(target=lambda: fates.extend(line.strip() for line in door.stdout), daemon=True).start()
    command = [PROGRAM, "--role-arn", "arn:aws:iam::111111111111:role/visitor", "--bucket", "working"]
    command += ["--endpoint-url", url, "--sts-endpoint-url", door_url, "--force-path-style", "--region", "us-east-1"]
    command += ["--duration", f"{SESSION}s", "--metadata-ttl", "2s", "--wait", "-v", "--log-file", str(log)]
    command += ["--staging-dir", str(scratch / "staging"), str(mount_point)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(scratch), "AWS_EC2_METADATA_DISABLED": "true"}
    environment |= {"AWS_ACCESS_KEY_ID": keys["id"], "AWS_SECRET_ACCESS_KEY": keys["secret"]}
    subprocess.run(command, env=environment, check=True)
    try:
        begun = time.monotonic()
        team = workers(mount_point / "working", scratch, begun + 60 * MINUTES)
        for worker in team:
            worker.start()
        for worker in team:
            worker.join()
        seconds = time.monotonic() - begun
    finally:
        subprocess.run(["umount", str(mount_point)] if os.geteuid() == 0 else ["fusermount3", "-u", str(mount_point)])
        while mounted(mount_point):
            time.sleep(0.1)
        for process in (door, server):
            process.stdin.close()
            process.wait()

    errors = [f"{worker.name}, {error}" for worker in team for error in worker.errors]
    lines = log.read_text().splitlines()
    sessions = sum("credentials renewed" in line or "being renewed again" in line for line in lines)
    lapses = sum("the credentials have lapsed" in line for line in lines)
    failed = [line for line in lines if "failed operation" in line]
    for worker in team:
        print(f"{worker.name}: {worker.rounds} rounds, {len(worker.errors)} errors")
    print(f"STS: {len(fates)} calls in {seconds:.0f} s, {fates.count('answered')} answered; {sessions} renewals, {lapses} lapses")
    # A session of 20 s is renewed 8 to 10 s after its issue. A failed call is followed by one 0.25 to 0.5 s later, then by
    # ever longer pauses, up to a quarter of what is left: one renewal in a row of bad luck may take up to its last second.
    least, most = seconds / SESSION - 1, seconds / (0.4 * SESSION) + 1
    if not least <= sessions <= most:
        errors.append(f"the schedule explains {least:.0f} to {most:.0f} renewals, and there were {sessions}")
    if len(fates) > 4 * most:
        errors.append(f"{len(fates)} calls are too many for {sessions} renewals")
    for error in errors + failed[:20]:
        print(error)
    print("soak: " + ("FAILED" if errors else "ok"))
    sys.exit(1 if errors else 0)


main()
