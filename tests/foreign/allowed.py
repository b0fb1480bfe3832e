"""Tries everything in a bucket with the session of a role, and prints what was allowed, as JSON.

    allowed.py URL ROLE_ARN BUCKET < {"id": .., "secret": ..}

Keys are tried inside and outside of the prefix `inside/`. What is not asked of a mount is tried, too.
"""

import json
import sys

import boto3
from botocore.exceptions import ClientError

url, role, bucket = sys.argv[1:]
keys = json.load(sys.stdin)


def client(service, key, secret, token=None):
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
    )


sts = client("sts", keys["id"], keys["secret"])
session = sts.assume_role(RoleArn=role, RoleSessionName="allowed")["Credentials"]
s3 = client("s3", session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])
own = {"ACL": "bucket-owner-full-control"}
allowed = []


def attempt(what, call, **arguments):
    try:
        call(Bucket=bucket, **arguments)
        allowed.append(what)
    except ClientError as error:
        # Whether a thing is there is for those who are let in; all else is a refusal.
        if error.response["Error"]["Code"] not in ("AccessDenied", "403"):
            raise


for place, prefix in [("inside", "inside/"), ("outside", "")]:
    attempt(f"list {place}", s3.list_objects_v2, Prefix=prefix)
    attempt(f"get {place}", s3.get_object, Key={"inside": "inside/letter.txt", "outside": "outside.txt"}[place])
    attempt(f"put {place}", s3.put_object, Key=f"{prefix}new.txt", Body=b"x")
    attempt(f"put with an ACL {place}", s3.put_object, Key=f"{prefix}owned.txt", Body=b"x", **own)
    try:
        upload = s3.create_multipart_upload(Bucket=bucket, Key=f"{prefix}large", **own)["UploadId"]
        allowed.append(f"upload {place}")
        attempt(f"abort {place}", s3.abort_multipart_upload, Key=f"{prefix}large", UploadId=upload)
    except ClientError:
        pass
    attempt(f"delete {place}", s3.delete_object, Key=f"{prefix}new.txt")
attempt("get the policy", s3.get_bucket_policy)
attempt("put the policy", s3.put_bucket_policy, Policy=json.dumps({"Version": "2012-10-17", "Statement": []}))
attempt("delete the bucket", s3.delete_bucket)
json.dump(allowed, sys.stdout)
