"""What goes to stdout (data alone) and to stderr (everything that is said about it).

A command has one JSON document; tables are drawn from the same document, so both tell the same.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from io import TextIOWrapper
from typing import Any, Final, TextIO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eventflows_cli.exit_codes import DONE
from eventflows_cli.json_shapes import Json

PLAIN_WIDTH: Final = 4_096
"""Characters of a line where no terminal is: nothing is folded for programs that read lines."""

Step = Callable[[int, int], None]
"""Hears of long work: (done, of how many)."""


class Format(StrEnum):
    """What stdout gets."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


class Output:
    """Writes documents in one format. `color` False: never; else where a terminal is."""

    def __init__(self, format_: Format, *, color: bool) -> None:
        self.format = format_
        self._data = _console(sys.stdout, color=color)
        self._messages = _console(sys.stderr, color=color)

    @property
    def is_table(self) -> bool:
        """Is it for people?"""
        return self.format is Format.TABLE

    def show(
        self,
        document: Json,
        table: Callable[[Json], RenderableType],
        *,
        lines: Callable[[Json], Sequence[Json]] = lambda document: (document,),
    ) -> None:
        """The whole document: as `table` draws it, as one JSON value, or its `lines`."""
        match self.format:
            case Format.TABLE:
                self.draw(table(document))
            case Format.JSON:
                self.value(document)
            case Format.JSONL:
                for line in lines(document):
                    self.line(line)

    def value(self, document: Json) -> None:
        """One document as one JSON value over several lines."""
        self._write(json.dumps(document, indent=2))

    def line(self, document: Json) -> None:
        """One document as one line of JSON, at once."""
        self._write(json.dumps(document, separators=(",", ":")))

    def draw(self, table: RenderableType) -> None:
        """For people, at once."""
        with self._data.capture() as captured:
            self._data.print(table)
        # rich fills cells up to the right edge; nobody wants to copy those spaces.
        lines = (line.rstrip() for line in captured.get().splitlines())
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()

    def say(self, sentence: str) -> None:
        """A message on stderr."""
        self._messages.print(visible(sentence), markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self, what: str) -> Iterator[Step]:
        """A bar on stderr while it lasts; nothing where stderr is no terminal."""
        if not self._messages.is_terminal:
            yield lambda _done, _total: None
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._messages, transient=True) as progress:
            task = progress.add_task(what, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    def _write(self, text: str) -> None:
        """ASCII only (json escapes the rest), so no value can steer a terminal."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def open_streams() -> None:
    """Make stdout and stderr fit to be written to, whatever the process was started with.

    One that was closed (`>&-`) goes nowhere. A character that the encoding of the terminal lacks is
    shown as \\u2190 and so on.
    """
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def visible(text: str) -> str:
    """Text of others without characters that steer a terminal: they are shown as \\x1b and so on.

    Lines stay lines.
    """
    return "".join(
        character if character.isprintable() or character == "\n" else _escaped(character)
        for character in text
    )


def reader_left() -> int:
    """Who reads stdout has enough, which is a good end: its exit code."""
    drop_stdout()
    return DONE


def drop_stdout() -> None:
    """Forget what stdout cannot take: Python would try again at its end, complain, and end with
    a code of its own. All that was shown was flushed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _escaped(character: str) -> str:
    return "    " if character == "\t" else character.encode("unicode_escape").decode()


def _console(file: Any, *, color: bool) -> Console:
    terminal = file.isatty()
    return Console(
        file=file,
        width=None if terminal else PLAIN_WIDTH,
        no_color=None if color else True,  # None: rich looks at NO_COLOR
        color_system="auto" if color and terminal else None,
        force_terminal=terminal,
        highlight=False,
        markup=False,
        emoji=False,
    )
