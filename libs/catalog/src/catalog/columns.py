"""Many frozen records as columns of bytes and back: compact, typed, and nearly all of it in C.

A field of all records of a kind is one column. Strings and records stand once in a table, columns
hold their numbers, so what was shared in memory is shared again after reading. What to do follows
from the annotations alone: int, float, bool, bytes, str, datetime, IntEnum, other records,
`… | None` of str, datetime and records, `tuple[X, ...]`, `tuple[X, Y]` and `dict[K, V]`.

    frames  =  strings, the kinds that hold no other kind, …, the root (children before parents)
    frame   =  length (4 bytes, big-endian), then one column in MessagePack

Price: not an interface. A record with one field more cannot read what was written before;
`shape_of` tells whether two builds have the same records.
"""

from __future__ import annotations

import gc
import types
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from enum import IntEnum
from functools import cache
from itertools import chain, repeat
from struct import Struct
from sys import intern
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

T = TypeVar("T")

FRAME_BYTES_MAX: Final = 256 * 1024 * 1024
"""Of one column; a whole catalog of a million flows has columns of some 40 MB."""
_LENGTH: Final = Struct(">I")
_COUNT = Annotated[int, msgspec.Meta(ge=0)]
_NUMBERS = list[_COUNT]


def pack(root: object) -> Sequence[bytes]:
    """The frames of a record and of everything that it holds. Other threads may run meanwhile."""
    writer = _Writer()
    kind: Any = type(root)
    writer.number([root], kind)
    sections = [writer.table(one) for one in _kinds_under(kind)]
    sections.append([_frame(list(writer.strings))])
    return [frame for section in reversed(sections) for frame in section]


def unpack(kind: type[T], data: memoryview, *, for_good: bool = False) -> T:
    """The record in these frames. Raises ValueError for anything that `pack` cannot have made.

    `for_good`: it will live as long as the process, so the garbage collector need not look at it
    ever (`gc.freeze`, which holds for everything that is there at the call: do it once).
    """
    reader = _Reader(data)
    root: Any = kind
    try:
        with _without_collector(for_good=for_good):
            reader.read_strings()
            for one in reversed(_kinds_under(root)):
                reader.read_table(one)
    except (IndexError, TypeError, msgspec.MsgspecError) as error:
        raise ValueError("the columns do not fit together") from error
    rows = reader.tables[kind]
    if len(rows) != 2 or not reader.at_end:  # None, and the one record
        raise ValueError("there is more, or less, than one record")
    found: T = rows[1]
    return found


def shape_of(kind: type) -> str:
    """Names and types of everything under a kind, in words; equal means readable."""
    root: Any = kind
    return "\n".join(_words(one) for one in _kinds_under(root))


class _Writer:
    """Numbers strings and records as they come up. Numbers begin at 1: 0 is None."""

    def __init__(self) -> None:
        self.strings: dict[str, int] = {}
        self._numbers: dict[type, dict[int, int]] = {}
        self._rows: dict[type, list[Any]] = {}

    def number(self, values: Sequence[Any], kind: type) -> list[int]:
        """A number for each record, the same for the same object."""
        known = self._numbers.setdefault(kind, {})
        rows = self._rows.setdefault(kind, [])
        numbers = []
        for value in values:
            if value is None:
                numbers.append(0)
                continue
            found = known.get(id(value))
            if found is None:
                rows.append(value)  # kept, so its id stays its own
                found = known[id(value)] = len(rows)
            numbers.append(found)
        return numbers

    def table(self, kind: type) -> list[bytes]:
        """The frames of all records of a kind. Nothing of it may be numbered after this."""
        rows = self._rows.get(kind, [])
        frames = [_frame(len(rows))]
        for name, hint in _fields(kind):
            self._column([getattr(row, name) for row in rows], hint, frames)
        return frames

    def _column(self, values: Sequence[Any], hint: Any, frames: list[bytes]) -> None:
        origin, item = get_origin(hint), _without_none(hint)
        if origin is dict:
            self._pairs(values, hint, frames)
        elif origin is tuple and get_args(hint)[-1] is Ellipsis:
            frames.append(_frame([len(value) for value in values]))
            self._column(list(chain.from_iterable(values)), get_args(hint)[0], frames)
        elif origin is tuple:
            for place, part in enumerate(get_args(hint)):
                self._column([value[place] for value in values], part, frames)
        elif item is str:
            known = self.strings
            frames.append(
                _frame([0 if v is None else known.setdefault(v, len(known) + 1) for v in values])
            )
        elif _is_record(item):
            frames.append(_frame(self.number(values, item)))
        else:
            frames.append(_frame(values))

    def _pairs(self, values: Sequence[Any], hint: Any, frames: list[bytes]) -> None:
        key, value = get_args(hint)
        frames.append(_frame([len(one) for one in values]))
        self._column(list(chain.from_iterable(values)), key, frames)
        self._column(list(chain.from_iterable(one.values() for one in values)), value, frames)


class _Reader:
    """Reads the frames in their order; every number is looked up, so none can point nowhere."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._offset = 0
        self._strings: list[str | None] = []
        self.tables: dict[type, list[Any]] = {}

    @property
    def at_end(self) -> bool:
        return self._offset == len(self._data)

    def read_strings(self) -> None:
        self._strings = [None, *map(intern, self._next(list[str]))]

    def read_table(self, kind: type) -> None:
        count = self._next(_COUNT)
        columns = [self._column(hint, count) for _, hint in _fields(kind)]
        self.tables[kind] = [None, *_made(kind, columns, count)]

    def _column(self, hint: Any, count: int) -> Sequence[Any]:
        origin, item = get_origin(hint), _without_none(hint)
        if origin is dict:
            return list(map(dict, self._slices(tuple.__class_getitem__(get_args(hint)), count)))
        if origin is tuple and get_args(hint)[-1] is Ellipsis:
            return list(self._slices(get_args(hint)[0], count))
        if origin is tuple:
            return list(zip(*[self._column(part, count) for part in get_args(hint)], strict=True))
        if item is str or _is_record(item):
            table = self._strings if item is str else self.tables[item]
            numbers = self._numbers(count)
            if item is hint and 0 in numbers:
                raise ValueError("a value is missing that must be there")
            return list(map(table.__getitem__, numbers))
        return self._counted(self._next(list[hint]), count)

    def _slices(self, hint: Any, count: int) -> Iterator[tuple[Any, ...]]:
        lengths = self._numbers(count)
        items = self._column(hint, sum(lengths))
        start = 0
        for length in lengths:
            yield tuple(items[start : start + length])
            start += length

    def _numbers(self, count: int) -> list[int]:
        return self._counted(self._next(_NUMBERS), count)

    def _counted(self, column: list[Any], count: int) -> list[Any]:
        if len(column) != count:
            raise ValueError(f"a column has {len(column)} values, not {count}")
        return column

    def _next(self, hint: Any) -> Any:
        start = self._offset + _LENGTH.size
        if start > len(self._data):
            raise ValueError("it ends too early")
        (size_bytes,) = _LENGTH.unpack(self._data[self._offset : start])
        self._offset = start + size_bytes
        if size_bytes > FRAME_BYTES_MAX or self._offset > len(self._data):
            raise ValueError("it ends too early")
        return _decoder(hint).decode(self._data[start : self._offset])


_encode: Final = msgspec.msgpack.Encoder().encode


def _frame(column: object) -> bytes:
    data = _encode(column)
    return _LENGTH.pack(len(data)) + data


@cache
def _decoder(hint: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(hint)


def _made(kind: Any, columns: Sequence[Sequence[Any]], count: int) -> list[Any]:
    """`count` records, each field filled for all of them at once: ten times faster than calls."""
    if issubclass(kind, tuple):
        return list(map(kind._make, zip(*columns, strict=True)))  # a NamedTuple
    rows = list(map(object.__new__, repeat(kind, count)))
    for (name, _), column in zip(_fields(kind), columns, strict=True):
        # The slot itself: a frozen record refuses setattr. No record here has a __post_init__.
        deque(map(getattr(kind, name).__set__, rows, column), maxlen=0)
    return rows


@contextmanager
def _without_collector(*, for_good: bool) -> Iterator[None]:
    """So many new records, none of them garbage: looking for it would double the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if for_good:
            gc.freeze()
        if was_on:
            gc.enable()


def _is_record(hint: Any) -> bool:
    return isinstance(hint, type) and (is_dataclass(hint) or hasattr(hint, "_fields"))


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return next(one for one in get_args(hint) if one is not types.NoneType)
    return hint


@cache
def _fields(kind: Any) -> Sequence[tuple[str, Any]]:
    hints = get_type_hints(kind)
    if is_dataclass(kind):
        return [(field.name, hints[field.name]) for field in fields(kind)]
    return list(hints.items())


@cache
def _kinds_under(root: Any) -> Sequence[type]:
    """The root and every kind of record below it, each before the kinds that it holds."""
    finished: dict[type, None] = {}

    def visit(kind: type) -> None:
        for _, hint in _fields(kind):
            for held in _held(hint):
                if held not in finished:
                    visit(held)
        finished[kind] = None

    visit(root)
    return list(reversed(finished))


def _held(hint: Any) -> Iterator[type]:
    if _is_record(hint):
        yield hint
    for part in get_args(hint):
        yield from _held(part)


def _words(kind: Any) -> str:
    described = ", ".join(f"{name}: {_type_words(hint)}" for name, hint in _fields(kind))
    return f"{kind.__name__}({described})"


def _type_words(hint: Any) -> str:
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return f"{hint.__name__}[{', '.join(f'{one.name}={one.value}' for one in hint)}]"
    if get_args(hint):
        parts = ", ".join(_type_words(part) for part in get_args(hint))
        return f"{getattr(get_origin(hint), '__name__', '')}[{parts}]"
    return getattr(hint, "__name__", str(hint))
