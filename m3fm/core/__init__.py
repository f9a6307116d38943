"""Foundations: errors, artifacts, the state directory, Ray, progress; nothing specific to CT or to models."""
