"""The end-to-end tests' algorithm: answers with the number it got, or misbehaves when told to."""

import os
import time

from Algorithmia import ADK


class InputError(Exception):
    error_type = "InputError"


def apply(record):
    if record.get("fail"):
        raise InputError(f"record {record['id']} asked to fail")
    if record.get("exit"):
        os._exit(7)
    time.sleep(record.get("work_s", 0))
    return {"id": record["id"], "digit": record["id"] % 10}


algorithm = ADK(apply)
algorithm.init("Algorithmia")
