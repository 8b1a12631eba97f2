"""`ExportLog` and `ImportLog`: the log as a stream of records, out and in."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Final

import grpc.aio
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import (
    EventflowsError,
    InvalidInput,
    Overloaded,
    StateForbids,
    TimedOut,
    TooLarge,
)
from sealedlog.export_check import ExportCheck
from sealedlog.export_records import Manifest, PartBuilder, framed
from sealedlog.secret_sealing import (
    IMPORT_KEY_METADATA,
    new_private_key,
    public_bytes,
    public_key_of,
)

from registry.application.export import Exporter, Recipient
from registry.application.importing import Imported, Importer
from registry.domain import values

EXPORTS_MAX: Final = 2
IMPORTS_MAX: Final = 1
RETRY_AFTER_S: Final = 30.0
PART_TIMEOUT_S: Final = 60.0
"""For the next part of an import to come."""
DRAIN_S: Final = 20.0
"""For the rest of an import that was refused."""
IMPORT_BYTES_MAX: Final = 64 * 1024**3
"""Of one import, on the disk of this process while it is checked."""

Context = grpc.aio.ServicerContext[Any, Any]


class ExportRpc:
    """For operators only (`servicekit.identity`)."""

    def __init__(self, *, exporter: Exporter, importer: Importer | None) -> None:
        """Without an operator's address of the database there is no `importer`."""
        self._exporter = exporter
        self._importer = importer
        self._exports = 0
        self._imports = 0

    async def ExportLog(  # noqa: N802
        self, request: pb.ExportLogRequest, _context: Context
    ) -> AsyncIterator[pb.ExportPart]:
        if self._exports >= EXPORTS_MAX:
            raise Overloaded("the log is being exported already", retry_after_s=RETRY_AFTER_S)
        recipient = _recipient(request)
        self._exports += 1
        try:
            after = await self._exporter.begin(request.after_position)
            builder = PartBuilder()
            async for record in self._exporter.records(
                after, to_position=request.to_position, recipient=recipient
            ):
                if (part := builder.add(record)) is not None:
                    yield part
            if (part := builder.rest()) is not None:
                yield part
        finally:
            self._exports -= 1

    async def ImportLog(  # noqa: N802
        self, parts: AsyncIterator[pb.ExportPart], context: Context
    ) -> pb.ImportLogResponse:
        """The whole stream is kept on disk and verified before the first row is written.

        Our public key of this call goes out first, in the initial metadata: secrets come sealed for
        it, so the recipient's private key stays with the caller and no secret is on our disk.
        """
        try:
            imported = await self._imported(parts, context)
        except EventflowsError:
            await _drain(parts)
            raise
        answer = pb.ImportLogResponse(
            events=imported.events,
            batches=imported.batches,
            head=pb.Head(position=imported.head.position, hash=imported.head.hash),
            streams_without_credentials=imported.streams_without_credentials,
        )
        answer.head.time.FromDatetime(imported.head.time)
        return answer

    async def _imported(self, parts: AsyncIterator[pb.ExportPart], context: Context) -> Imported:
        if self._importer is None:
            raise StateForbids(
                "this registry cannot import: start it with EVENTFLOWS_REGISTRY_OPS_DSN_FILE"
            )
        if self._imports >= IMPORTS_MAX:
            raise Overloaded("another import runs: wait for it", retry_after_s=RETRY_AFTER_S)
        self._imports += 1
        try:
            key = new_private_key()
            await context.send_initial_metadata(((IMPORT_KEY_METADATA, public_bytes(key)),))
            with tempfile.TemporaryFile() as file:
                manifest = await _spooled(parts, file)
                return await self._importer.run(file, manifest, key)
        finally:
            self._imports -= 1


def _recipient(request: pb.ExportLogRequest) -> Recipient | None:
    if not request.recipient_public_key:
        if request.recipient:
            raise InvalidInput("a recipient needs a recipient_public_key")
        return None
    name = values.line("recipient", request.recipient)
    if not name:
        raise InvalidInput("recipient must name whose key it is")
    return Recipient(name=name, key=public_key_of(request.recipient_public_key))


async def _spooled(parts: AsyncIterator[pb.ExportPart], file: BinaryIO) -> Manifest:
    """Write the records down and check them all. Raises InvalidInput, TooLarge, TimedOut."""
    check = ExportCheck()
    size_bytes = 0
    while (part := await _next(parts)) is not None:
        size_bytes += part.ByteSize()
        if size_bytes > IMPORT_BYTES_MAX:
            raise TooLarge(f"an import has at most {IMPORT_BYTES_MAX} bytes: import it in parts")
        await asyncio.to_thread(_keep, check, part, file)
    manifest = check.finish()
    with _disk():
        await asyncio.to_thread(file.flush)
    return manifest


async def _drain(parts: AsyncIterator[pb.ExportPart]) -> None:
    """Take what still comes: a client that is cut off while it sends is not told why (measured)."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            async for _ in parts:
                pass


async def _next(parts: AsyncIterator[pb.ExportPart]) -> pb.ExportPart | None:
    try:
        async with asyncio.timeout(PART_TIMEOUT_S):
            return await anext(parts, None)
    except TimeoutError as error:
        raise TimedOut("the next part of the export did not come: import again") from error


def _keep(check: ExportCheck, part: pb.ExportPart, file: BinaryIO) -> None:
    for record in part.records:
        check.take(record)
        with _disk():
            file.write(framed(record))


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateForbids(
            f"the registry's disk does not take the import ({error.strerror}): make room where "
            "its temporary files are, then import again"
        ) from error
