"""Limits of the runner that are no settings. Sources: `algorithmia-api.md` 2.1.4, 2.2, 4.6."""

from __future__ import annotations

from typing import Final

MIB: Final = 1024 * 1024

INPUT_BYTES_MAX: Final = 10 * MIB
"""Of the request's body, as it came over the wire (so after base64, when it is encoded)."""
OUTPUT_BYTES_MAX: Final = 15_000_000
"""Of the result as JSON text, the way the ADK writes it (so after base64)."""
ANSWER_LINE_BYTES_MAX: Final = OUTPUT_BYTES_MAX + 64 * 1024
"""Of the ADK's whole answer line; a longer one is read to its end and thrown away."""

TIMEOUT_DEFAULT_S: Final = 300.0
TIMEOUT_MAX_S: Final = 3_000.0
SESSIONS_TOTAL_MAX: Final = 1_000
"""Runs and waiting calls of all accounts together."""
INPUT_BYTES_IN_FLIGHT_MAX: Final = 1024 * MIB
"""Bodies of all calls that are being read, wait or run."""
BACKGROUND_RUNS_MAX: Final = 200
"""Runs of `output=void`: nobody waits for them."""

REQUEST_ID_CHARACTERS_MAX: Final = 256
ACCOUNT_CHARACTERS_MAX: Final = 128
RECORD_KEY_BYTES_MAX: Final = 64 * 1024
HOPS_MAX: Final = 1_000
"""Only a check of the header's form: the router gives up at 24."""
POSITION_MAX: Final = 2**63 - 1
CARRIED_HEADER_CHARACTERS_MAX: Final = 512
ERROR_MESSAGE_CHARACTERS_MAX: Final = 16 * 1024
STACKTRACE_CHARACTERS_MAX: Final = 64 * 1024

RUN_OUTPUT_BYTES_MAX: Final = 64 * 1024
"""What a run printed: the newest bytes are kept."""
STDERR_TAIL_BYTES_MAX: Final = 4 * 1024
"""How much of stderr the error of a crashed algorithm tells."""
BUILD_LOG_BYTES_MAX: Final = 16 * 1024

REPEAT_WINDOW_S: Final = 600.0
REPEAT_BYTES_MAX: Final = 256 * MIB
REPEAT_RESULT_BYTES_MAX: Final = 1 * MIB

COMPLETION_BYTES_MAX: Final = 24 * MIB
"""Largest record of our Kafka topics (ARCHITECTURE.md, internal topics)."""
COMPLETION_RETENTION_DAYS: Final = 7
"""How long followers may be away, unless the settings say so otherwise."""

OVERLOAD_RETRY_AFTER_S: Final = 1.0
"""What callers are asked to wait after a 429 or 503."""
