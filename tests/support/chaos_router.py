"""`python -m tests.support.chaos_router`: the router as it is, but for a wall clock that jumps."""

from __future__ import annotations

import mode.loop

mode.loop.use("uvloop")  # before anything imports faust, as the router's own __main__ does

import runpy  # noqa: E402

from router import bootstrap  # noqa: E402
from router.adapters.system_clock import SystemClock  # noqa: E402

from tests.support.chaos_clock import JumpingClock  # noqa: E402

if __name__ == "__main__":
    composition = vars(bootstrap)
    assert composition["SystemClock"] is SystemClock, "the router has its clock from elsewhere now"
    composition["SystemClock"] = JumpingClock
    runpy.run_module("router", run_name="__main__")
