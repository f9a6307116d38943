"""The configuration of a run: every number in one place, typed, with its range and its meaning."""
