"""What differs between two moments of the log, and which event did it.

Net: a field that went there and back does not differ. What an event changes in other aggregates (a
flow that comes by a grant) is put down to that event. Pure; the catalog that is given moves on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from catalog import aggregates
from catalog.aggregates import State
from catalog.catalog import Catalog
from catalog.codec import stored_name
from catalog.events import Metadata, RecordedEvent
from catalog.kinds import AggregateKind
from catalog.touched import Touched, touched

from registry.domain.descriptions import Key, Naming, Ref, Told, described, name_of, shown

EXISTENCE: Key = ("", "")
EXISTS = "exists"
CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """The event that changed something, without its data."""

    position: int
    time: datetime
    event_name: str
    metadata: Metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field of one aggregate that is not as it was; `field` is empty when the whole aggregate
    came or went. `before` and `after` are in words, empty for what was not there."""

    kind: AggregateKind
    id: str
    name: str
    field: str
    before: str
    after: str
    cause: Cause


class Differences:
    """Takes the events after one moment, then tells what differs from it.

    `wanted` says which aggregates are of interest. `catalog` is as of the first moment and becomes
    as of the second; events that can change nothing of interest may be left out.
    """

    def __init__(self, catalog: Catalog, *, wanted: Callable[[Touched], bool]) -> None:
        self.catalog = catalog
        self._wanted = wanted
        self._first: dict[Touched, State | None] = {}
        self._newest: dict[Touched, State] = {}
        self._causes: dict[Touched, dict[Key, Cause]] = {}

    def take(self, events: Iterable[RecordedEvent]) -> None:
        """The next events, in order."""
        for recorded in events:
            names = [one for one in touched(self.catalog, recorded) if self._wanted(one)]
            before = [aggregates.of(self.catalog, *one) for one in names]
            aggregates.fold(self.catalog, [recorded])
            for one, old in zip(names, before, strict=True):
                new = aggregates.of(self.catalog, *one)
                if new is not old:
                    self._note(one, old, new, recorded)

    def found(self, naming: Naming) -> Iterator[Difference]:
        """What differs now, sorted by kind and name; the fields of one aggregate together."""
        named = [(one, name_of(self._newest[one], naming)) for one in self._first]
        for one, name in sorted(named, key=lambda each: (each[0].kind, each[1], each[0].id)):
            first, last = self._first[one], aggregates.of(self.catalog, *one)
            changed = _changed(first, last) if last is not None or first is None else [EXISTENCE]
            for key in changed:
                yield _difference(one, name, key, first, last, self._causes[one][key], naming)

    def _note(
        self, one: Touched, old: State | None, new: State | None, recorded: RecordedEvent
    ) -> None:
        self._first.setdefault(one, old)
        if newest := new or old:
            self._newest[one] = newest
        causes = self._causes.setdefault(one, {})
        cause = Cause(
            position=recorded.position,
            time=recorded.time,
            event_name=stored_name(recorded.event),
            metadata=recorded.metadata,
        )
        causes.update(dict.fromkeys(_changed(old, new), cause))


def _changed(old: State | None, new: State | None) -> Iterator[Key]:
    """The fields that are not the same, all of them when the aggregate came or went."""
    if (old is None) != (new is None):
        yield EXISTENCE
    before, after = _described(old), _described(new)
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key):
            yield key


def _described(state: State | None) -> Mapping[Key, Told]:
    return {} if state is None else described(state)


def _difference(
    one: Touched,
    name: str,
    key: Key,
    first: State | None,
    last: State | None,
    cause: Cause,
    naming: Naming,
) -> Difference:
    if key == EXISTENCE:
        field, before, after = "", EXISTS if first else "", EXISTS if last else ""
    else:
        old, new = _described(first).get(key), _described(last).get(key)
        field, before, after = key[0], shown(old, naming), shown(new, naming)
        if old and new and old.secret != new.secret:
            after = CHANGED
    return Difference(
        kind=one.kind, id=one.id, name=name, field=field, before=before, after=after, cause=cause
    )


def naming_of(*catalogs: Catalog) -> Naming:
    """Names as the first of these catalogs that knows the aggregate has them; else its id."""

    def name(ref: Ref) -> str:
        for catalog in catalogs:
            state = aggregates.of(catalog, ref.kind, ref.id)
            if state is not None:
                return name_of(state, name)
            if deleted := catalog.deleted_connection_name(ref.id):
                return deleted
        return ref.id

    return name
