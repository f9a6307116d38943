"""Rows: one adapter per source of exams, their labels, and the split of their patients."""
