"""Puts the documents of one patient where they belong, on the server at the given address.

    install.py URL < {"role": NAME, "trust": [..], "statements": [..], "bucket": NAME, "bucket_policy": [..],
                      "ownership": RULE}

Statements come as lists; an empty list means that there is no such document. What is not there yet is made.
"""

import json
import sys

import boto3
from botocore.exceptions import ClientError

A, B = "111111111111", "222222222222"
OPEN = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{A}:root"}, "Action": "sts:TagSession"}


def client(service, account):
    # Twelve digits are the root key of their account; ministack asks for no secret there.
    return boto3.client(
        service,
        endpoint_url=sys.argv[1],
        region_name="us-east-1",
        aws_access_key_id=account,
        aws_secret_access_key="test",
    )


def policy(statements):
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


patient = json.load(sys.stdin)
iam, s3 = client("iam", A), client("s3", B)
role, bucket = patient["role"], patient["bucket"]
# A role has to have a trust policy; this one trusts nobody with anything that matters here.
trust = policy(patient["trust"] or [OPEN])
try:
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=trust)
except ClientError:
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust)
iam.put_role_policy(RoleName=role, PolicyName="own", PolicyDocument=policy(patient["statements"]))
try:
    s3.head_bucket(Bucket=bucket)
except ClientError:
    s3.create_bucket(Bucket=bucket, ObjectOwnership=patient["ownership"])
    for key in ["inside/letter.txt", "outside.txt"]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"from bob\n")
s3.put_bucket_ownership_controls(
    Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": patient["ownership"]}]}
)
if patient["bucket_policy"]:
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(patient["bucket_policy"]))
else:
    s3.delete_bucket_policy(Bucket=bucket)
