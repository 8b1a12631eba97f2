"""Running an algorithm: the gateway resolves the version and passes bytes through unparsed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from urllib.parse import parse_qs

from catalog.records import Algorithm
from catalog.versions import resolve_version
from kernel.errors import InvalidInput, NotFound, TooLarge

from gateway.application.algorithms import AlgorithmRef, algorithm_of, owns
from gateway.application.gateway import Gateway
from gateway.domain.caller import Standard
from gateway.domain.fields import is_uuid
from gateway.ports import RunAnswer, RunRequest

INPUT_BYTES_MAX = 10 * 1024 * 1024
RUN_TIMEOUT_DEFAULT_S = 300
RUN_TIMEOUT_MAX_S = 3_000
PLATFORM_MARGIN_S = 30.0
"""What the runner may need beyond the run itself: a cold start, a full queue."""
CODE_ALGORITHM_UNKNOWN = 1001
ACCOUNT_HEADER = "X-Eventflows-Account"
REQUEST_ID_HEADER = "X-Eventflows-Request-Id"
POSITION_HEADER = "X-Eventflows-Position"
PASSED_HEADERS = ("content-type", "content-encoding", "content-length")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run to make. `target` is the path after `/v1/algo/`; header names are lower case."""

    target: str
    query: str
    headers: Mapping[str, str]
    body: AsyncIterator[bytes]
    request_id: str
    traceparent: str | None


def run_algorithm(
    gateway: Gateway, caller: Standard, run: Run
) -> AbstractAsyncContextManager[RunAnswer]:
    """Run a version that the caller may call; the answer is the runner's, byte for byte.

    Raises InvalidInput, NotFound (1001), TooLarge, and what `Runner.run` raises.
    """
    ref, wanted = parse_target(run.target)
    algorithm = _algorithm(gateway, ref)
    resolved = resolve_version(algorithm, wanted, caller_owns=owns(caller, algorithm))
    _check_length(run.headers.get("content-length"))
    headers = {name: run.headers[name] for name in PASSED_HEADERS if name in run.headers}
    headers[ACCOUNT_HEADER] = caller.account.account_id
    headers[POSITION_HEADER] = str(gateway.catalog.position)
    headers[REQUEST_ID_HEADER] = run.request_id
    if run.traceparent is not None:
        headers["traceparent"] = run.traceparent
    return gateway.runner.run(
        RunRequest(
            owner=algorithm.owner_name,
            name=algorithm.name,
            version=resolved.version or resolved.commit_sha,
            query=run.query,
            headers=headers,
            body=_bounded(run.body),
            timeout_s=_timeout_s(run.query) + PLATFORM_MARGIN_S,
        )
    )


def parse_target(target: str) -> tuple[AlgorithmRef, str]:
    """`owner/name[/version]` or `id[/version]`, also with `algo://` before it and `/` behind it.

    Raises NotFound (1001) for anything else.
    """
    path = target.removeprefix("algo://").strip("/")
    parts = path.split("/")
    if is_uuid(parts[0]) and len(parts) <= 2:
        return AlgorithmRef(parts[0]), "".join(parts[1:])
    if len(parts) in (2, 3) and all(parts):
        return AlgorithmRef(parts[0], parts[1]), "".join(parts[2:])
    raise _not_found(path)


def _algorithm(gateway: Gateway, ref: AlgorithmRef) -> Algorithm:
    try:
        return algorithm_of(gateway.catalog, ref)
    except NotFound as error:
        raise _not_found(str(ref)) from error


def _not_found(path: str) -> NotFound:
    return NotFound(f"algorithm algo://{path[:200]} not found", code=CODE_ALGORITHM_UNKNOWN)


def _check_length(content_length: str | None) -> None:
    if content_length is None:
        return
    if not (content_length.isascii() and content_length.isdigit()):
        raise InvalidInput("Content-Length must be a number")
    if int(content_length[:20]) > INPUT_BYTES_MAX:
        raise _too_large()


async def _bounded(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes. Raises TooLarge at the first one beyond the limit: chunked bodies lie."""
    total_bytes = 0
    async for chunk in body:
        total_bytes += len(chunk)
        if total_bytes > INPUT_BYTES_MAX:
            raise _too_large()
        if chunk:
            yield chunk


def _too_large() -> TooLarge:
    return TooLarge(f"the input may have at most {INPUT_BYTES_MAX} bytes (10 MiB)")


def _timeout_s(query: str) -> float:
    """What the caller asks for. Wrong words mean the default: the runner refuses them."""
    word = parse_qs(query).get("timeout", [""])[-1]
    if not (word.isascii() and word.isdigit()):
        return RUN_TIMEOUT_DEFAULT_S
    return min(int(word[:9]), RUN_TIMEOUT_MAX_S)
