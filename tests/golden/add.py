"""Writes the golden files of event kinds that have none: `python -m tests.golden.add`.

Never touches a file that exists: what was once written to a log must stay readable for ever.
"""

from __future__ import annotations

from itertools import product

from catalog import codec
from catalog.events import Event

from tests.golden.samples import SAMPLES, golden_names, golden_path, json_text


def add(event: Event) -> list[str]:
    """Write the files of the event's kind where they are missing; the names of those written."""
    contents = ((".bin", codec.encode(event)), (".json", json_text(event).encode()))
    written = []
    for name, (suffix, content) in product(golden_names(event), contents):
        path = golden_path(name, suffix)
        try:
            with path.open("xb") as file:
                file.write(content)
        except FileExistsError:
            continue
        written.append(path.name)
    return written


def main() -> None:
    """Add what is missing and say what was added."""
    for event in SAMPLES:
        for name in add(event):
            print(f"added {name}")


if __name__ == "__main__":
    main()
