"""Foundations: errors, artifacts, the state directory, Ray, progress; nothing of CT or of models."""
