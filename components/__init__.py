"""Kubeflow components, one folder each: every body is one call into `m3fm.pipeline.steps`."""

import os

IMAGE = os.environ.get("M3FM_IMAGE", "m3fm-python:0.1.0")
"""Container image with m3fm in it, for clusters; the local runner uses the environment it runs in."""
