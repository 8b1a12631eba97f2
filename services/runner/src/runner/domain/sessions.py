"""How many calls are open, by account and in all, and how many bytes of input they hold.

A session is open from the first byte of a call to the end of its run; more than the account may
have is refused at once, so that nothing queues (`algorithmia-api.md` 2.1.4).
"""

from __future__ import annotations

from kernel.errors import Overloaded

from runner.domain.limits import (
    INPUT_BYTES_IN_FLIGHT_MAX,
    OVERLOAD_RETRY_AFTER_S,
    SESSIONS_TOTAL_MAX,
)


class Sessions:
    """Counts. `open` gives a session; closing it gives all back."""

    def __init__(
        self,
        *,
        per_account_max: int,
        total_max: int = SESSIONS_TOTAL_MAX,
        bytes_max: int = INPUT_BYTES_IN_FLIGHT_MAX,
    ) -> None:
        self._per_account_max = per_account_max
        self._total_max = total_max
        self._bytes_max = bytes_max
        self._of_account: dict[str, int] = {}
        self._total = 0
        self._bytes = 0

    @property
    def total(self) -> int:
        """Open sessions of all accounts."""
        return self._total

    @property
    def input_bytes(self) -> int:
        """What open sessions hold."""
        return self._bytes

    def of_account(self, account_id: str) -> int:
        """Open sessions of one account."""
        return self._of_account.get(account_id, 0)

    def open(self, account_id: str) -> Session:
        """Raises Overloaded when the account, or the runner, has all its sessions in use."""
        used = self._of_account.get(account_id, 0)
        if used >= self._per_account_max:
            raise _overloaded(f"The account has all its {used} sessions in use")
        if self._total >= self._total_max:
            raise _overloaded("The runner has all its sessions in use")
        self._of_account[account_id] = used + 1
        self._total += 1
        return Session(self, account_id)

    def _hold(self, size_bytes: int) -> None:
        if self._bytes + size_bytes > self._bytes_max:
            raise _overloaded("The runner holds as much input as it may")
        self._bytes += size_bytes

    def _give_back(self, account_id: str, size_bytes: int) -> None:
        self._bytes -= size_bytes
        self._total -= 1
        left = self._of_account[account_id] - 1
        if left:
            self._of_account[account_id] = left
        else:
            del self._of_account[account_id]


class Session:
    """One open call. A context manager; `close` is harmless twice."""

    __slots__ = ("_account_id", "_bytes", "_closed", "_sessions")

    def __init__(self, sessions: Sessions, account_id: str) -> None:
        self._sessions, self._account_id = sessions, account_id
        self._bytes = 0
        self._closed = False

    def hold(self, size_bytes: int) -> None:
        """So much more input was read. Raises Overloaded when the runner holds too much."""
        self._sessions._hold(size_bytes)
        self._bytes += size_bytes

    def close(self) -> None:
        """Give back the place and the bytes."""
        if not self._closed:
            self._closed = True
            self._sessions._give_back(self._account_id, self._bytes)


def _overloaded(what: str) -> Overloaded:
    return Overloaded(f"{what}: try again later.", retry_after_s=OVERLOAD_RETRY_AFTER_S)
