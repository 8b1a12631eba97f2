"""The garbage collector is spared what stands for good."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest
from router.entrypoints.start_heap import YOUNG_OBJECTS_MAX, StartHeap


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave the collector as it was found."""
    thresholds, was_enabled = gc.get_threshold(), gc.isenabled()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    if was_enabled:
        gc.enable()


async def test_what_stands_at_the_start_is_not_walked_by_later_collections() -> None:
    started, here = asyncio.Event(), [object()]
    running = asyncio.create_task(StartHeap(started).run())
    await asyncio.sleep(0)
    assert any(one is here for one in gc.get_objects())
    started.set()
    await running
    assert not any(one is here for one in gc.get_objects())


async def test_garbage_in_a_circle_is_freed_before() -> None:
    class Link:
        def __init__(self) -> None:
            self.itself = self

    freed: list[bool] = []
    gc.disable()
    weakref.finalize(Link(), freed.append, True)
    started = asyncio.Event()
    started.set()
    await StartHeap(started).run()
    assert freed == [True]


async def test_the_records_of_a_moment_are_not_walked_again_and_again() -> None:
    started = asyncio.Event()
    started.set()
    await StartHeap(started).run()
    assert gc.get_threshold()[0] == YOUNG_OBJECTS_MAX
