"""Kubeflow pipelines, one folder each, and the one runner for all of them."""
