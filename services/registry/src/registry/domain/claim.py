"""Unique names of the whole log, each taken in one step with the event that needs it."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.errors import AlreadyExists

USERNAME_TAKEN = 3003
EMAIL_TAKEN = 3004
ALGORITHM_NAME_TAKEN = 1002


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Names that a command's events take and give back."""

    added: tuple[str, ...] = ()
    released: tuple[str, ...] = ()


def account_name(username: str) -> str:
    """Never released: a user name is never used again."""
    return f"account/name/{username.lower()}"


def account_email(email: str) -> str:
    """Never released: an e-mail address is never used again."""
    return f"account/email/{email.lower()}"


def api_key(key_sha256: bytes) -> str:
    """Never released: a revoked key stays worthless."""
    return f"api_key/{key_sha256.hex()}"


def algorithm(owner_id: str, name: str) -> str:
    """One algorithm of a name for each owner."""
    return f"algorithm/{owner_id}/{name.lower()}"


def connection_name(name: str) -> str:
    """Released when the connection is deleted."""
    return f"connection/name/{name.lower()}"


def taken(claim: str) -> AlreadyExists:
    """What to tell a caller who wants a name that another has."""
    if claim.startswith("account/name/"):
        return AlreadyExists("this username is taken: choose another one", code=USERNAME_TAKEN)
    if claim.startswith("account/email/"):
        return AlreadyExists("this email address is taken: use another one", code=EMAIL_TAKEN)
    if claim.startswith("api_key/"):
        return AlreadyExists("this API key exists already: make a new one")
    if claim.startswith("connection/name/"):
        return AlreadyExists(
            "a connection of this name exists: choose another name or delete it first"
        )
    return AlreadyExists(
        "the owner has an algorithm of this name: choose another name", code=ALGORITHM_NAME_TAKEN
    )
