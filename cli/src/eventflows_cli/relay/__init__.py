"""The log as CloudEvents on Kafka, so that other systems follow it."""
