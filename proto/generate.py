"""Generate the Python contracts from the .proto files, or check that they are fresh.

`generate.py OUT` writes; `generate.py --check OUT` generates into a temporary folder and fails with
the list of files that differ. Message code, type stubs (mypy-protobuf) and gRPC stubs come from the
official compiler in grpcio-tools.
"""

from __future__ import annotations

import filecmp
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent


def generate(out: Path) -> None:
    """Write the package `eventflows` below `out`; raises SystemExit when protoc refuses."""
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    well_known = str(files("grpc_tools") / "_proto")
    services = [name for name in sources if "service " in (PROTO / name).read_text()]
    messages = [f"-I{PROTO}", f"-I{well_known}", f"--python_out={out}", f"--mypy_out={out}"]
    stubs = [f"-I{PROTO}", f"-I{well_known}", f"--grpc_python_out={out}", f"--mypy_grpc_out={out}"]
    plugins = [
        f"--plugin={name}={Path(sys.executable).parent / name}"
        for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    for arguments, names in ((messages, sources), (stubs, services)):
        if protoc.main(["protoc", *plugins, *arguments, *names]) != 0:
            raise SystemExit("protoc refused the files; its message stands above")
    for folder in [out / "eventflows", *(p for p in (out / "eventflows").rglob("*") if p.is_dir())]:
        if folder != out / "eventflows" and folder.name != "__pycache__":
            (folder / "__init__.py").touch()
    (out / "eventflows" / "py.typed").touch()


def stale(out: Path) -> list[str]:
    """Names of the files below `out` that differ from what the .proto files give."""
    with tempfile.TemporaryDirectory() as fresh_name:
        fresh = Path(fresh_name)
        generate(fresh)
        wanted = {p.relative_to(fresh) for p in fresh.rglob("*.py*") if p.suffix != ".pyc"}
        there = {p.relative_to(out) for p in out.rglob("*.py*") if p.suffix != ".pyc"}
        same = {p for p in wanted & there if filecmp.cmp(fresh / p, out / p, shallow=False)}
        return sorted(str(p) for p in (wanted | there) - same)


def main(arguments: list[str]) -> None:
    """Command line: see the module's text."""
    out = Path(arguments[-1]).resolve()
    if arguments[0] == "--check":
        if differing := stale(out):
            raise SystemExit("not fresh, run `make proto`: " + ", ".join(differing))
        return
    shutil.rmtree(out / "eventflows", ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    generate(out)


if __name__ == "__main__":
    main(sys.argv[1:])
