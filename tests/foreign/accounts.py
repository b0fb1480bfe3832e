"""Makes the two accounts of the tests on the server at the given address, and prints the users' keys as JSON.

    account A 111111111111                            account B 222222222222
      alice ──► visitor       has all it needs ────────► admitting   lets every role of A below in
            ──► guarded       asks for an external id    working     lets visitor in
            ──► powerless     has no policy              demanding   lets visitor in, if it sends the ACL
            ──► writer        gets and puts objects      narrow      lets every role of A in
            ──► teammate      and lists below team/
            ──► relay ──► far asks for an external id    elsewhere   lets a role in that does not exist
      carol ──► distrustful   does not trust alice       closed      has no policy
                                                         bob administers the account
"""

import json
import sys

import boto3

A, B = "111111111111", "222222222222"
WHAT_A_MOUNT_NEEDS = [
    "s3:GetObject",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:ListBucket",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
]


def client(service, key, secret):
    return boto3.client(
        service,
        endpoint_url=sys.argv[1],
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def allow(action, **rest):
    return {"Effect": "Allow", "Action": action, **rest}


def make_user(iam, name, *statements):
    iam.create_user(UserName=name)
    if statements:
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=policy(*statements))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}


def make_role(iam, name, trusts, *statements, **condition):
    trust = allow("sts:AssumeRole", Principal={"AWS": f"arn:aws:iam::{A}:{trusts}"}, **condition)
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trust))
    if statements:
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy(*statements))


def make_bucket(s3, name, *statements):
    # With ACLs in force, as the older buckets have it that demand them.
    s3.create_bucket(Bucket=name, ObjectOwnership="BucketOwnerPreferred")
    s3.put_object(Bucket=name, Key="letter.txt", Body=b"from bob\n", ACL="bucket-owner-full-control")
    if statements:
        s3.put_bucket_policy(Bucket=name, Policy=policy(*statements))


def roles(*names):
    return {"AWS": [f"arn:aws:iam::{A}:role/{name}" for name in names]}


def admit(bucket, *names):
    resource = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    return allow("s3:*", Principal=roles(*names), Resource=resource)


def demand_full_control(bucket, *names):
    return {
        "Effect": "Deny",
        "Principal": roles(*names),
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        "Condition": {"StringNotEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
    }


# Twelve digits are the root key of their account; ministack asks for no secret there.
iam = client("iam", A, "test")
keys = {"alice": make_user(iam, "alice", allow("sts:AssumeRole", Resource="*")), "carol": make_user(iam, "carol")}
needs = allow(WHAT_A_MOUNT_NEEDS, Resource="arn:aws:s3:::*")
make_role(iam, "visitor", "user/alice", needs)
external_id = {"StringEquals": {"sts:ExternalId": "open-sesame"}}
make_role(iam, "guarded", "user/alice", needs, Condition=external_id)
make_role(iam, "powerless", "user/alice")
gets_and_puts = allow(["s3:GetObject", "s3:PutObject", "s3:PutObjectAcl"], Resource="arn:aws:s3:::narrow/*")
lists_its_own = allow(
    "s3:ListBucket", Resource="arn:aws:s3:::narrow", Condition={"StringLike": {"s3:prefix": "team/*"}}
)
make_role(iam, "writer", "user/alice", gets_and_puts)
make_role(iam, "teammate", "user/alice", gets_and_puts, lists_its_own)
make_role(iam, "relay", "user/alice", allow("sts:AssumeRole", Resource="*"))
make_role(iam, "far", "role/relay", needs, Condition=external_id)
make_role(iam, "distrustful", "user/carol", needs)

keys["bob"] = make_user(client("iam", B, "test"), "bob", allow("*", Resource="*"))
s3 = client("s3", keys["bob"]["id"], keys["bob"]["secret"])
make_bucket(s3, "admitting", admit("admitting", "visitor", "guarded", "powerless", "distrustful", "far"))
make_bucket(s3, "working", admit("working", "visitor"))
make_bucket(s3, "demanding", admit("demanding", "visitor"), demand_full_control("demanding", "visitor"))
make_bucket(s3, "elsewhere", admit("elsewhere", "somebody-else"))
make_bucket(s3, "closed")
make_bucket(s3, "narrow", admit("narrow", "writer", "teammate"))
for key in ["team/notes/one", "team/two", "inbox/", "reports/2024/summary.csv"]:
    s3.put_object(Bucket="narrow", Key=key, Body=key.encode())

json.dump(keys, sys.stdout)
