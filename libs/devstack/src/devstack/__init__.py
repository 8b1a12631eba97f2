"""Real brokers and databases without Docker, for demo, tests and benchmarks; gone with them."""

from devstack.data_dir import DataDir
from devstack.errors import (
    DevstackError,
    DiedAtStart,
    NotOurs,
    NotReadyInTime,
    NotRunning,
    StartFailed,
    StopFailed,
    ToolFailed,
)
from devstack.kafka import Kafka
from devstack.kafka_settings import INTERNAL_RECORD_BYTES_MAX
from devstack.ports import free_ports
from devstack.postgres import Postgres
from devstack.process import Process
from devstack.tcp_proxy import TcpProxy

__all__ = [
    "INTERNAL_RECORD_BYTES_MAX",
    "DataDir",
    "DevstackError",
    "DiedAtStart",
    "Kafka",
    "NotOurs",
    "NotReadyInTime",
    "NotRunning",
    "Postgres",
    "Process",
    "StartFailed",
    "StopFailed",
    "TcpProxy",
    "ToolFailed",
    "free_ports",
]
