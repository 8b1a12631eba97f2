"""One of everything that a path can name, made over REST."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1

from gateway.entrypoints.rest.operation import KeyKind, Operation

from tests.unit.gateway.stage import Owner, Stage

NEXT_COMMIT = sha1(b"second commit").hexdigest()


@dataclass(frozen=True, kw_only=True)
class World:
    """One of everything, and the position at which all of it was there.

    `places` are the parameters of paths; the algorithm has a build that was not published.
    """

    owner: Owner
    places: dict[str, str]
    position: int

    def path(self, operation: Operation) -> str:
        if operation.path == "/v1/algorithms/{owner}":  # takes an id in that place
            return f"/v1/algorithms/{self.places['algorithm_id']}"
        return operation.path.format(**self.places)

    def key(self, stage: Stage, operation: Operation) -> str:
        return stage.admin_key if operation.key is KeyKind.ADMIN else self.owner.key


async def world(stage: Stage) -> World:
    """What every path of a read can name."""
    owner = await stage.owner()
    name = await stage.algorithm(owner)
    algorithm = await stage.by(owner, "GET", f"/v1/algorithms/{owner.name}/{name}")
    connection = await stage.connection()
    await stage.grant(connection, "images", (f"{owner.name}/{name}", "subscriber"))
    (flow,) = await stage.by(owner, "GET", f"/v1/algorithms/{owner.name}/{name}/event-flows")
    listener = await stage.by(
        owner, "POST", f"/v1/users/{owner.id}/event-listeners",
        {
            "sourceType": "AmazonSQS", "sourceURI": "https://sqs/1/q", "algoName": name,
            "algoOwner": owner.name, "credentials": "arn:aws:iam::783449028191:role/reader",
        },
    )  # fmt: skip
    stage.runner.commit = NEXT_COMMIT
    await stage.by(owner, "POST", f"/v1/algorithms/{owner.name}/{name}/compile", {})
    (key,) = await stage.admin("GET", f"/v1/users/{owner.name}/keys")
    return World(
        owner=owner,
        places={
            "user": owner.id, "owner": owner.name, "name": name, "algorithm_id": algorithm["id"],
            "git_hash": algorithm["version_info"]["git_hash"], "flow": flow["id"],
            "build": algorithm["build"]["build_id"], "listener": listener["id"],
            "connection": connection, "topic": "images", "key": key["id"],
            "position": "1",
        },
        position=stage.follower.catalog.position,
    )  # fmt: skip
