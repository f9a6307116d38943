"""The one place that switches off what the libraries below m3fm would report home."""

import os

OFF = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Environment variables that the libraries read when they are imported, and their processes inherit."""


def switch_off() -> None:
    """Set the variables; call it before one of the libraries is imported."""
    os.environ.update(OFF)
