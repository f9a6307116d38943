"""Pretraining and task-parallel multitask training on Ray Train: one loop, and an objective for each."""
