"""The aggregates: what may happen to the configuration, decided purely: no clock, no await."""
