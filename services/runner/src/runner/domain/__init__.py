"""Pure rules of a run; no clock, no I/O."""
