"""Algorithms as their authors would write them, put into real git repositories."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

REQUIREMENTS = "algorithmia==2.0.5\nalgorithmia-adk==1.2.4\n"

PROBE = """
import os
import subprocess
import sys
import time

import Algorithmia
from Algorithmia import ADK


class InputError(Exception):
    error_type = "InputError"


class OwnTimeout(Exception):
    error_type = "TimeoutError"


def apply(order, loaded):
    if not isinstance(order, dict):
        return order
    do = order.get("do")
    print("doing", do)
    if do == "bytes":
        return bytes(range(256))
    if do == "raise":
        raise InputError("no such file")
    if do == "raise AlgorithmException":
        raise Algorithmia.errors.AlgorithmException("msg")
    if do == "raise TimeoutError":
        raise OwnTimeout("the database is slow")
    if do == "exit":
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)
    if do == "hang":
        grandchild = subprocess.Popen(["sleep", "600"])
        with open(order["pid_file"] + ".new", "w") as file:
            file.write(f"{os.getpid()} {grandchild.pid}")
        os.rename(order["pid_file"] + ".new", order["pid_file"])
        time.sleep(600)
    if do == "wait for":
        with open(order["started"], "a") as file:
            file.write("x")
        while not os.path.exists(order["path"]):
            time.sleep(0.005)
    if do == "append":
        with open(order["path"], "a") as file:
            file.write("x")
    if do == "nan":
        return {"score": float("nan")}
    if do == "environment":
        return dict(os.environ)
    if do == "letters":
        return "x" * order["count"]
    if do == "allocate":
        return len(bytearray(order["count"]))
    if do == "pid":
        return os.getpid()
    return {"did": do, "loaded": loaded}


def load():
    return "model"


ADK(apply, load).init("only used at the author's desk")
"""

LOADS_UNLESS = """
import os

from Algorithmia import ADK


def load():
    if os.path.exists("{switch}"):
        raise RuntimeError("no model here")


def apply(text):
    return text


ADK(apply, load).init()
"""

LEGACY = """
def apply(data):
    print("legacy")
    if data == "raise":
        raise ValueError("bad")
    return data
"""


def repository(folder: Path, name: str, code: str, requirements: str | None = None) -> str:
    """Makes a repository with one commit; gives its URL."""
    files = {
        "algorithmia.conf": f'{{"username": "acme", "algoname": "{name}", "langauge": "python3"}}',
        "src/__init__.py": "",
        f"src/{name}.py": code,
    }
    if requirements is not None:
        files["requirements.txt"] = requirements
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main", ".")
    commit(folder, files)
    return folder.as_uri()


def commit(folder: Path, files: Mapping[str, str]) -> str:
    """One more commit with these files; gives its hash."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "work")
    return git(folder, "rev-parse", "HEAD")


def git(folder: Path, *words: str) -> str:
    """Runs git as an author; gives what it printed."""
    author = ["-c", "user.name=Author", "-c", "user.email=author@example.org"]
    done = subprocess.run(
        ["git", *author, *words], cwd=folder, check=True, capture_output=True, text=True, timeout=30
    )
    return done.stdout.strip()
