"""Evaluation: predictions to a table of areas under the curve with intervals, and to a report."""
