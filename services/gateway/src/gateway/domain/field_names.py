"""The registry's names of fields as the caller named them, in the sentences of refusals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kernel.errors import InvalidInput


@contextmanager
def named_as_sent(names: Mapping[str, str]) -> Iterator[None]:
    """Inside, an InvalidInput says the caller's name (value) in place of the registry's (key)."""
    try:
        yield
    except InvalidInput as error:
        words = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")
        message = words.sub(lambda found: names[found[1]], error.message)
        raise InvalidInput(message, code=error.code) from error
