"""The simulated lung cancer screening cohort."""

from m3fm.simulate.cohort import simulate

__all__ = ["simulate"]
