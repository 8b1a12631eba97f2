"""One wish of a caller, made repeatable: its command id and the ids that follow from it.

With an `Idempotency-Key` the command id follows from account, method, path and key, so the same
request sent twice is one command, and two accounts never meet. Ids of new things follow from the
command id: a repeated command then has the same body, as the registry asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID, uuid5

from kernel.errors import InvalidInput

IDEMPOTENCY_KEY_CHARACTERS_MAX = 255
# Never change: a client that repeats a request across an upgrade would run it twice.
_NAMESPACE = UUID("5f0a3a52-3a6e-5c39-8f4e-1a7c2f3c9b10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A command id, and the stream versions that the caller accepts (None: any; (): none is right).

    `request_id` names the call that the wish came with; `repeatable`: the same wish may come again.
    """

    command_id: UUID
    request_id: str
    repeatable: bool = False
    expected_versions: tuple[int, ...] | None = None

    def new_id(self, what: str) -> str:
        """The id of a new thing, the same each time the wish is repeated."""
        return str(uuid5(self.command_id, what))


def intent(
    *,
    account_id: str,
    operation: str,
    idempotency_key: str | None,
    random_uuid: Callable[[], UUID],
    request_id: str,
    expected_versions: tuple[int, ...] | None = None,
) -> Intent:
    """The intent behind a request; `operation` is method and path. Raises InvalidInput."""
    if idempotency_key is None:
        return Intent(
            command_id=random_uuid(), request_id=request_id, expected_versions=expected_versions
        )
    if not 0 < len(idempotency_key) <= IDEMPOTENCY_KEY_CHARACTERS_MAX:
        raise InvalidInput(
            f"Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} characters"
        )
    name = f"{account_id}\n{operation}\n{idempotency_key}"
    return Intent(
        command_id=uuid5(_NAMESPACE, name),
        request_id=request_id,
        repeatable=True,
        expected_versions=expected_versions,
    )
