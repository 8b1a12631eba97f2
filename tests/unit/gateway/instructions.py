"""Does a refusal tell its reader what to do? Asked of every error answer of these tests."""

from __future__ import annotations

import re

_INSTRUCTION = re.compile(
    r"[:;,] [^:;]*\b(GET|add|ask|begin|build|change|check|choose|decide|enable|give|leave it out|"
    r"make|mend|name|publish|read|remove|repeat|send|set|try|use)\b"
)
"""What to do follows what is wrong, behind a mark."""
_RULE = re.compile(r"\b(must (be|have|hold|start|not be)|may have at most|is needed for)\b")
"""What a field has to be says enough."""
_ALGORITHMIAS_OWN = re.compile(
    r"No such algorithm|authorization required|algorithm algo://\S* not found"
)
"""Clients compare with these."""


def says_what_to_do(message: str) -> bool:
    """Whether a reader of this refusal knows what to do next."""
    if _ALGORITHMIAS_OWN.fullmatch(message):
        return True
    return bool(_INSTRUCTION.search(message) or _RULE.search(message))
