"""The clients, and how each is mounted.

Each is used as its manual tells a user who wants a working mount and has not tuned anything. The tuned ones are
there for those who ask what is left in it: `--clients s3xmount,s3fs-tuned,rclone-tuned`.
"""

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass

from .machine import Failure, is_root
from .server import BUCKET
from .table import OURS


@dataclass(frozen=True)
class Client:
    """Words of a command, with places to fill in, and where in the mount the bucket is."""

    command: str
    directory: str = "."


_S3FS = "s3fs {bucket} {mount} -f -o url={url},use_path_request_style,tmpdir={scratch}"
_RCLONE = (
    "{rclone} mount --config /dev/null --cache-dir {scratch} --vfs-cache-mode writes"
    " :s3,provider=Other,endpoint='{url}',env_auth=true,force_path_style=true:{bucket} {mount}"
)

CLIENTS = {
    OURS: Client(
        "{s3xmount} --foreground --config {scratch}/config.toml --staging-dir {scratch} --endpoint-url {url}"
        " --force-path-style --region us-east-1 --bucket {bucket} {mount}",
        directory=BUCKET,
    ),
    "s3fs": Client(_S3FS),
    "rclone": Client(_RCLONE),
    "s3fs-tuned": Client(
        _S3FS + ",parallel_count=20,multipart_size=10,max_stat_cache_size=200000,enable_noobj_cache"
    ),
    "rclone-full": Client(_RCLONE.replace("writes", "full")),
    "rclone-tuned": Client(
        _RCLONE + " --use-server-modtime --vfs-read-chunk-streams 12 --vfs-read-chunk-size 8M --buffer-size 0"
        " --vfs-write-back 0s --transfers 16 --s3-upload-concurrency 12 --s3-chunk-size 8M"
    ),
}
DEFAULT = ["s3xmount", "s3fs", "rclone"]


@dataclass(frozen=True)
class Mounted:
    """A mount that answers: the folder that shows the bucket, and the client's process."""

    folder: str
    process: int


@contextmanager
def mounted(client, programs, server, folder):
    """A fresh mount of the bucket by a fresh process, with nothing left of an earlier one. `folder` is the run's own.

    `programs` says where those programs are that are not looked up in PATH.
    """
    mount, scratch = folder / "mount", folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    (scratch / "config.toml").touch()  # so that the user's own counts for nothing
    mount.mkdir(exist_ok=True)
    places = dict(programs, mount=mount, scratch=scratch, url=server.url, bucket=BUCKET)
    command = [word.format(**places) for word in CLIENTS[client].command.split()]
    log_path = folder / f"{client}.log"
    with open(log_path, "wb") as log:
        # The client is told to end should this process be killed. It hears no Ctrl-C: it is ended here, in order.
        process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *command], env=_environment(scratch),
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_until_mounted(mount, process, log_path)
        yield Mounted(str(mount / CLIENTS[client].directory), process.pid)
    finally:
        _unmount(mount)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if os.path.ismount(mount):
            _unmount(mount, lazily=True)


def _environment(home):
    """Nothing of the user's but where programs are found and sockets are kept."""
    kept = {name: os.environ[name] for name in ("PATH", "XDG_RUNTIME_DIR") if name in os.environ}
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "testtest"}
    of_s3fs = {name.replace("_", ""): value for name, value in keys.items()}
    return dict(kept, HOME=str(home), AWS_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true", **keys, **of_s3fs)


def _wait_until_mounted(mount, process, log, seconds_max=15):
    end = time.monotonic() + seconds_max
    while not os.path.ismount(mount):
        if process.poll() is not None or time.monotonic() > end:
            print(log.read_text(errors="replace"), end="", file=sys.stderr)
            raise Failure("does not mount")
        time.sleep(0.02)
    os.listdir(mount)  # s3fs shows the mount before it answers


def _unmount(mount, lazily=False):
    command = ["umount", *["-l"] * lazily] if is_root() else ["fusermount3", "-u", *["-z"] * lazily]
    ended = subprocess.run([*command, str(mount)], stderr=subprocess.DEVNULL, check=False)
    if ended.returncode and not lazily:
        _unmount(mount, lazily=True)
