"""One of everything that a path can name, made over REST."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1

from eventflows.router.v1 import router_pb2
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


def letter(flow_id: str, *, offset: int) -> router_pb2.GetDeadLetterResponse:
    """A dead letter with everything that one has."""
    whole = router_pb2.GetDeadLetterResponse(
        letter=router_pb2.DeadLetter(
            letter_id=f"0-{offset}", letter_topic="dead-letters", flow_id=flow_id,
            algorithm="acme/Digits", algorithm_version="0.1.0", topic="images", partition=3,
            offset=40 + offset, record_key=b"k\xc3\xa9y", has_key=True, value_bytes=3,
            reason="algorithm_error", error_type="ValueError", error="no digit", attempts=2,
            request_id="r-1", generation=1, state=router_pb2.DEAD_LETTER_STATE_OPEN,
        ),
        value=b'"7"', has_value=True,
        headers=[router_pb2.RecordHeader(name="trace", value=b"\xff\x00")],
        history=[router_pb2.FailedAttempt(attempt=1, outcome="timed_out", error="slow")],
    )  # fmt: skip
    whole.letter.given_up_time.FromJsonString("2026-11-23T10:00:00.250Z")
    whole.letter.record_time.FromJsonString("2026-11-23T09:00:00Z")
    whole.history[0].at.FromJsonString("2026-11-23T09:59:00Z")
    return whole


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
    stage.router.letters += [letter(flow["id"], offset=offset) for offset in range(2)]
    letters = f"/v1/algorithms/{owner.name}/{name}/event-flows/{flow['id']}/dead-letters"
    task = await stage.by(owner, "POST", f"{letters}/redrive", {}, status=202)
    return World(
        owner=owner,
        places={
            "user": owner.id, "owner": owner.name, "name": name, "algorithm_id": algorithm["id"],
            "git_hash": algorithm["version_info"]["git_hash"], "flow": flow["id"],
            "build": algorithm["build"]["build_id"], "listener": listener["id"],
            "connection": connection, "topic": "images", "key": key["id"],
            "position": "1", "letter": "0-0", "task": task["id"],
        },
        position=stage.follower.catalog.position,
    )  # fmt: skip
