"""The numbers that `docs/delivery.md` tells are those of the code, and so are the files it names.

What a number does is held by the tests that the page names beside it.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from catalog.records import FLOW_CHANGES_KEPT_MAX
from registry.domain import delivery_rules
from router.adapters import (
    algorithm_target,
    http_client,
    internal_topics,
    kafka_clients,
    kafka_fetches,
    kafka_leader_search,
    kafka_letter_topic,
    kafka_positions,
    kafka_writer,
    positions_topic,
)
from router.adapters.kafka_consumer import GroupTimes
from router.application import (
    budget,
    dead_letter_tasks,
    letter_bytes,
    letters_at_work,
    limits,
    supervisor,
)
from router.domain import (
    commit_metadata,
    dead_letter,
    flow_spec,
    hops,
    pace,
    redrive,
    retry_policy,
    watchdog,
)
from runner.domain import limits as runner_limits
from runner.domain import repeat_window
from servicekit import kafka_topics

from tests.meta.test_delivery_contract import PAGE, ROOT

MIB = 1024 * 1024
KIB = 1024
GIB = 1024 * MIB
HOUR_S = 3_600
DAY_S = 24 * HOUR_S
EXAMPLE_FLOWS, EXAMPLE_PARTITIONS = 200, 12
IN_WORDS = {0.75: "three quarters", 2: "two", 3: "three", 10: "ten"}

NUMBERS = [
    ("did not answer within {:.0f} s", [kafka_writer.SEND_TIMEOUT_S]),
    ("is read again up to {:.0f} s after it can be", [kafka_leader_search.LONGEST_S]),
    ("waits up to {:.0f} s for a letter to come", [kafka_letter_topic.CALL_TIMEOUT_S]),
    ("lag is measured every {:.0f} s", [limits.LAG_INTERVAL_S]),
    ("a worker carries out {} at once", [dead_letter_tasks.TASKS_AT_ONCE_MAX]),
    (
        "have in work hold {} MiB together, and beside that one of up to {} MiB for each",
        [letter_bytes.WORKER_BYTES_MAX // MIB, letter_bytes.FIRST_BYTES_MAX // MIB],
    ),
    ("one of the {} that a redrive has in work", [letters_at_work.AT_ONCE_MAX]),
    ("not within {:.0f} s of its first failure", [redrive.SUSPECT_AFTER_S]),
    (
        "({:.0f} ms, or {} deliveries)",
        [1_000 * limits.COMMIT_INTERVAL_S, limits.COMMIT_RECORDS_MAX],
    ),
    ("`concurrency_max` | {}", [flow_spec.CONCURRENCY_DEFAULT]),
    ("of each instance; 1 to {:,}", [flow_spec.CONCURRENCY_MAX]),
    ("share the consumer group; at most {}", [delivery_rules.PARALLELISM_MAX]),
    ("the runner's {:.0f}", [runner_limits.TIMEOUT_DEFAULT_S]),
    ("a run may take, at most {:,.0f}", [runner_limits.TIMEOUT_MAX_S]),
    ("at most {} rules", [delivery_rules.RETRY_RULES_MAX]),
    ("the first included (to {:,})", [delivery_rules.ATTEMPTS_MAX]),
    ("(to {:.0f} days)", [delivery_rules.AGE_MAX_S / DAY_S]),
    (
        "{} ms to {:.0f} hour",
        [delivery_rules.DELAY_MIN_MS, delivery_rules.DELAY_MAX_MS / 1_000 / HOUR_S],
    ),
    ("`factor` ({:.0f} to {:.0f})", [delivery_rules.FACTOR_MIN, delivery_rules.FACTOR_MAX]),
    (
        "our own topics have {}, of which {} must",
        [IN_WORDS[kafka_topics.REPLICATION_MAX], IN_WORDS[kafka_topics.IN_SYNC_MIN]],
    ),
    ("(at most {:,} bytes, checksummed)", [commit_metadata.METADATA_BYTES_MAX]),
    (
        "bytes, {} KiB for all partitions of a commit",
        [kafka_positions.COMMIT_METADATA_BYTES_MAX // KIB],
    ),
    (
        "in a commit of more than {} partitions",
        [kafka_positions.COMMIT_METADATA_BYTES_MAX // commit_metadata.METADATA_BYTES_MAX],
    ),
    ("within the session timeout ({:.0f} s)", [GroupTimes().session_timeout_s]),
    ("unless it is longer than {:,} bytes", [algorithm_target.KEY_BYTES_MAX]),
    ("between 0 and {} s", [retry_policy.BACKOFF_FIRST_S]),
    ("rule fits up to {:.0f} s", [retry_policy.BACKOFF_LONGEST_S]),
    ("It is up to {:.0f} s for", [retry_policy.AWAY_LONGEST_S]),
    ("its wait, up to {:.0f} s by default", [retry_policy.AWAY_LONGEST_S]),
    ("and of {:.0f} s where a call was sent", [retry_policy.NO_ANSWER_FIRST_S]),
    ("honoured up to {:.0f} s", [retry_policy.RETRY_AFTER_MAX_S]),
    ("again, {} such attempts", [retry_policy.TIMED_OUT_ATTEMPTS_MAX]),
    ("again, {} such attempts, then dead letter", [retry_policy.CRASHED_ATTEMPTS_MAX]),
    ("again for {:.0f} hours", [retry_policy.AGE_MAX_S / HOUR_S]),
    ("waits that grow up to {:.0f} s", [pace.WAIT_LONGEST_S]),
    ("goes down to {} of the calls", [IN_WORDS[pace.SLOWED_TO]]),
    ("When {} deliveries failed", [IN_WORDS[pace.STOP_AFTER]]),
    ("fewer than {} lanes", [IN_WORDS[pace.STOP_AFTER]]),
    ("the last {} minutes", [IN_WORDS[runner_limits.REPEAT_WINDOW_S / 60]]),
    (
        "at most {} MiB, of which each takes {} KiB and its answer, and answers up to {} MiB",
        [
            runner_limits.REPEAT_BYTES_MAX // MIB,
            repeat_window.ENTRY_BYTES // KIB,
            runner_limits.REPEAT_RESULT_BYTES_MAX // MIB,
        ],
    ),
    ("nothing was done for {:.0f} s", [watchdog.STALL_MAX_S]),
    ("not told its partitions for {:.0f} s", [limits.UNASSIGNED_MAX_S]),
    ("somebody else's for {:.0f} s", [limits.UNCONFIRMED_MAX_S]),
    ("drain bound of {:.0f} s", [limits.DRAIN_S]),
    ("is given {:.0f} s beyond the grace time", [limits.LAST_SETTLE_ROOM_S]),
    ("leaves its group within {:.0f} s more", [limits.SOURCE_CLOSE_MAX_S]),
    (
        "ready to join again {:.0f} s before the {:.0f} s of a rebalance",
        [limits.JOIN_ROOM_S, GroupTimes().rebalance_s],
    ),
    (
        "at most {} MiB in our topic, and {} MiB in a topic of the flow's own",
        [
            (internal_topics.MESSAGE_BYTES_MAX + internal_topics.DEAD_LETTER_ROOM_BYTES) // MIB,
            kafka_clients.RECORD_BYTES_MAX // MIB,
        ],
    ),
    ("keeps it: {} days", [runner_limits.COMPLETION_RETENTION_DAYS]),
    ("Completions wait {} days", [runner_limits.COMPLETION_RETENTION_DAYS]),
    ("The {} MiB of a worker", [budget.WORKER_BYTES_HELD_MAX // MIB]),
    ("of each partition at most {} KiB", [kafka_fetches.PARTITION_FETCH_BYTES_MAX // KIB]),
    ("an answer of at most {} MiB", [kafka_fetches.FETCH_BYTES_MAX // MIB]),
    (
        "With {} flows of {} partitions, all of them behind and held back, that is {:.1f} GiB, "
        "and {:.1f} GiB while they fetch",
        [
            EXAMPLE_FLOWS,
            EXAMPLE_PARTITIONS,
            EXAMPLE_FLOWS * EXAMPLE_PARTITIONS * kafka_fetches.PARTITION_FETCH_BYTES_MAX / GIB,
            EXAMPLE_FLOWS * kafka_fetches.FETCH_BYTES_MAX / GIB,
        ],
    ),
    ("input of a run has at most {} MiB", [runner_limits.INPUT_BYTES_MAX // MIB]),
    ("is up to {:.0f} s old after a crash", [positions_topic.WRITE_INTERVAL_S]),
    ("changed more than {} times", [FLOW_CHANGES_KEPT_MAX]),
    (
        "at most {:,} calls to the runner open, a file descriptor each. More wait up to {:.0f} s",
        [http_client.CONNECTIONS_MAX, http_client.WAIT_S],
    ),
    ("keeps letters ({:.0f} days)", [internal_topics.DEAD_LETTER_RETENTION_S / DAY_S]),
    ("until {:,} records lie between", [limits.SPAN_RECORDS_MAX]),
    (
        "the flow's {:,} records and {} MiB",
        [limits.RECORDS_HELD_MAX, limits.BYTES_HELD_MAX // MIB],
    ),
    (
        "share {:,} open calls and {} MiB",
        [budget.CALLS_OPEN_MAX, budget.WORKER_BYTES_HELD_MAX // MIB],
    ),
    ("takes at most {} flow instances", [supervisor.CAPACITY_MAX]),
    ("history takes at most {} kB", [dead_letter.HISTORY_BYTES_MAX // KIB]),
    ("{} algorithms passed", [hops.HOPS_MAX]),
]


def page() -> str:
    """The page on one line."""
    return " ".join(PAGE.read_text().split())


@pytest.mark.parametrize(("words", "numbers"), NUMBERS, ids=[words for words, _ in NUMBERS])
def test_each_number_of_the_page_is_that_of_the_code(words: str, numbers: list[object]) -> None:
    assert words.format(*numbers) in page()


def test_aiokafka_is_pinned_and_whoever_reaches_into_it_is_named() -> None:
    (item,) = re.findall(r"^\* aiokafka [0-9.]+ is pinned, .*$", PAGE.read_text(), re.MULTILINE)
    for project in ("cli", "services/router", "services/runner"):
        known = tomllib.loads((ROOT / project / "pyproject.toml").read_text())
        (pin,) = [each for each in known["project"]["dependencies"] if "aiokafka" in each]
        assert pin in {"aiokafka==0.14.*", "aiokafka>=0.14,<0.15"}
        assert item.startswith("* aiokafka 0.14 ")
    named = set(re.findall(r"`([a-z_/]+\.py)`", item))
    assert {path.name for path in _sources() if _reaches_into_aiokafka(path)} - named == set()
    assert named - {path.name for path in _sources()} == set()


def _sources() -> list[Path]:
    return [
        path for top in ("cli", "libs", "services") for path in (ROOT / top).rglob("src/**/*.py")
    ]


def _reaches_into_aiokafka(path: Path) -> bool:
    """Does a file about Kafka use what is private to something else than its own classes?"""
    text = path.read_text()
    if "aiokafka" not in text:
        return False
    reached = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute) and re.fullmatch(r"_[a-z]\w*", node.attr)
    ]
    own = {node.attr for node in reached if _is_self(node.value)}
    return any(not _is_self(node.value) and node.attr not in own for node in reached)


def _is_self(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in {"self", "cls"}
