"""Runs ministack with its authorization on, and with two repairs, for as long as standard input is open.

It prints its address when it accepts connections. The kernel chooses the port, so nothing can be in the way; the
end of standard input ends it, so nothing is left behind, however the tests end.

The repairs are made in memory, in two functions of ministack 1.5.33. Both are about bucket policies as people
really write them, which are the matter of these tests:

1. A bucket policy of another account names a role. ministack judges every caller from outside as the root of its
   account, so no statement that names a role or a user ever matches. AWS compares the caller's own ARN.
2. A bucket policy demands an ACL of every `s3:PutObject`. UploadPart and CompleteMultipartUpload are judged as
   `s3:PutObject` too and cannot carry an ACL. AWS judges them with the one their upload was begun with; ministack
   does that for the encryption header and not for the ACL, so that a Deny hits every part.

And one function is replaced because it is slow: ministack computes CRC64NVME, which we guard all uploads with, byte
by byte in Python, seconds for every part, while all other requests wait. AWS's own library gives the same number.
"""

import dataclasses
import os
import re
import sys
import tempfile
import threading

scratch = tempfile.TemporaryDirectory(prefix="s3xmount-foreign-")
# Read by ministack when it is imported. Root keys pass all its checks: they are the twelve digits of an account.
os.environ.update(
    AUTH="true",
    BIND_HOST="127.0.0.1",
    GATEWAY_PORT="0",
    SERVICES="s3,sts,iam",
    SFTP_ENABLED="0",
    IOT_MTLS_ENABLED="0",
    LOG_LEVEL="ERROR",
    S3_PERSIST="0",
    S3_DATA_DIR=os.path.join(scratch.name, "s3"),
    STATE_DIR=os.path.join(scratch.name, "state"),
    TMPDIR=scratch.name,
)

import awscrt.checksums  # noqa: E402
import hypercorn.config  # noqa: E402
from ministack import app  # noqa: E402
from ministack.core import iam_actions, iam_evaluator  # noqa: E402
from ministack.services import s3  # noqa: E402


def match_the_caller_itself():
    """Repair 1: hands the caller's own ARN to the evaluation of another account's bucket policy."""
    evaluate = iam_evaluator.evaluate_resource_policy

    def repaired(policy, context, *args, **options):
        if context.principal_type == "Root" and context.action.startswith("s3:"):
            arn = iam_evaluator.caller_arn()
            for mark, kind in ((":assumed-role/", "AssumedRole"), (":user/", "User")):
                if mark in arn:
                    context = dataclasses.replace(context, principal_arn=arn, principal_type=kind)
        return evaluate(policy, context, *args, **options)

    iam_evaluator.evaluate_resource_policy = repaired


def judge_parts_by_their_upload():
    """Repair 2: remembers the ACL of each upload, and shows it to policies along with every part."""
    acls = {}
    begin, conditions = s3._create_multipart_upload, iam_actions._s3_object_context

    def begin_and_remember(bucket, key, headers):
        status, answer_headers, body = begin(bucket, key, headers)
        begun = re.search(rb"<UploadId>([^<]+)</UploadId>", body)
        if begun and "x-amz-acl" in headers:
            acls[begun[1].decode()] = headers["x-amz-acl"]
        return status, answer_headers, body

    def conditions_of_the_upload(action, query, path, headers):
        found = conditions(action, query, path, headers)
        acl = acls.get(iam_actions._query_param(query, "uploadId"))
        if action == "s3:PutObject" and acl:
            found["s3:x-amz-acl"] = acl
        return found

    s3._create_multipart_upload = begin_and_remember
    iam_actions._s3_object_context = conditions_of_the_upload


def announce_the_address():
    """Prints the address once the socket listens: from then on connections wait and are not refused."""
    create = hypercorn.config.Config.create_sockets

    def create_and_announce(config):
        sockets = create(config)
        [socket] = sockets.insecure_sockets
        socket.listen()
        print("http://{}:{}".format(*socket.getsockname()), flush=True)
        # Nobody reads on. What else it may have to say goes where errors go.
        os.dup2(2, 1)
        return sockets

    hypercorn.config.Config.create_sockets = create_and_announce


def end_with_standard_input():
    sys.stdin.buffer.read()
    scratch.cleanup()
    os._exit(0)


s3._crc64nvme = awscrt.checksums.crc64nvme
match_the_caller_itself()
judge_parts_by_their_upload()
announce_the_address()
threading.Thread(target=end_with_standard_input, daemon=True).start()
sys.argv = sys.argv[:1]
app.main()
