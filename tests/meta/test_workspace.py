"""The workspace holds what its own pages and rules say."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
POLL_MAX_S = 0.1
FOR_EVER_MIN_S = 300
MEMBERS = sorted(
    path
    for folder in ("libs/*", "services/*", "cli")
    for path in ROOT.glob(f"{folder}/pyproject.toml")
)


def _locked() -> set[str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return {line.split("==")[0].lower() for line in lines if re.match(r"^[a-z0-9]", line, re.I)}


def _name(requirement: str) -> str:
    return re.split(r"[\s<>=!~\[;]", requirement)[0].lower()


def test_the_lock_holds_every_dependency_of_every_member() -> None:
    locked = _locked()
    for path in MEMBERS:
        project = tomllib.loads(path.read_text())["project"]
        wanted = {_name(one) for one in project["dependencies"]}
        missing = {one for one in wanted if not one.startswith("eventflows-")} - locked
        assert missing == set(), f"{path.parent.name}: run `make lock`"


def test_the_lock_names_no_address() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in ("README.md", "CONTRIBUTING.md", "docs/benchmarks.md"):
        named = set(re.findall(r"`make ([a-z-]+)", (ROOT / page).read_text()))
        assert named <= targets, page


def test_every_file_that_a_page_links_to_exists() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/*/README.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


def test_no_test_sleeps() -> None:
    """A pause of a poll is short; a stand-in for "for ever" is long; all between is sleeping."""
    listed = subprocess.run(
        ["git", "ls-files", "tests"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split():
        if name.endswith(".py"):
            times_s = re.findall(r"(?:time|asyncio)\.sleep\(([\d.]+)\)", (ROOT / name).read_text())
            slept_s = [one for one in times_s if POLL_MAX_S < float(one) < FOR_EVER_MIN_S]
            assert slept_s == [], f"{name} sleeps: wait on a signal"
