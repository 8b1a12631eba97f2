"""Commands, the stream of the log, and upkeep, over the ports."""
