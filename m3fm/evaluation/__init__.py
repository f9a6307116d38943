"""Evaluation: from predictions to a table of AUCs with intervals, and to a report."""
