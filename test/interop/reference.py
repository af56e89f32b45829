"""Drives the Python package model-signing: one JSON job a line on standard input, one JSON answer a line on standard output."""

import json
import pathlib
import sys

from model_signing import hashing, signing, verifying


def hashing_config(job):
    wanted = job.get("hashing")
    if wanted is None:
        return None
    ignored = [pathlib.Path(p) for p in wanted.get("ignore", [])]
    common = {
        "hashing_algorithm": wanted.get("algorithm", "sha256"),
        "allow_symlinks": wanted.get("allow_symlinks", False),
        "ignore_paths": frozenset(),
    }
    config = hashing.Config()
    if "shard_size" in wanted:
        config.use_shard_serialization(shard_size=wanted["shard_size"], **common)
    else:
        config.use_file_serialization(**common)
    config.set_ignored_paths(paths=ignored, ignore_git_paths=True)
    config.set_allow_symlinks(wanted.get("allow_symlinks", False))
    return config


def sign(job):
    config = signing.Config()
    if job["method"] == "key":
        config.use_elliptic_key_signer(
            private_key=pathlib.Path(job["private_key"]),
            # declared as str, but passed on to where bytes are needed
            password=job["password"].encode() if "password" in job else None,
        )
    else:
        config.use_certificate_signer(
            private_key=pathlib.Path(job["private_key"]),
            signing_certificate=pathlib.Path(job["certificate"]),
            certificate_chain=[pathlib.Path(p) for p in job["chain"]],
        )
    config.set_hashing_config(hashing_config(job))
    config.sign(pathlib.Path(job["model"]), pathlib.Path(job["signature"]))


def verify(job):
    config = verifying.Config()
    if job["method"] == "key":
        config.use_elliptic_key_verifier(public_key=pathlib.Path(job["public_key"]))
    else:
        config.use_certificate_verifier(certificate_chain=[pathlib.Path(p) for p in job["chain"]])
    wanted = hashing_config(job)
    if wanted is not None:
        config.set_hashing_config(wanted)
    config.set_ignore_unsigned_files(job.get("ignore_unsigned", False))
    config.verify(pathlib.Path(job["model"]), pathlib.Path(job["signature"]))


for line in sys.stdin:
    job = json.loads(line)
    try:
        {"sign": sign, "verify": verify}[job["do"]](job)
        answer = {"ok": True}
    except BaseException as error:  # every way in which it refuses is an answer
        answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
