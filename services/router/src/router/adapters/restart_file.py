"""For which flows this worker ended itself: a small JSON file in its data folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

FILE_NAME = "restarts.json"

_log = logging.getLogger(__name__)


class RestartFile:
    """Port `RestartMemory`; a file that cannot be read or written is as good as none."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME

    def load(self) -> Mapping[str, datetime]:
        try:
            found = json.loads(self._path.read_bytes())
            return {str(name): datetime.fromtimestamp(at, UTC) for name, at in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError, OverflowError) as error:
            _log.warning("%s cannot be read and is not used: %s", self._path, error)
            return {}

    def save(self, restarts: Mapping[str, datetime]) -> None:
        text = json.dumps({name: at.timestamp() for name, at in sorted(restarts.items())})
        try:
            new = self._path.with_suffix(".new")
            new.write_text(text)
            new.replace(self._path)
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._path, error)
