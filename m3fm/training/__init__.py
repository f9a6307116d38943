"""Pretraining and task-parallel multitask training on Ray Train: one loop, with one objective for each."""
