"""Fine-tuning on a task that a file describes, in cross-validation (paper, Fig. 7; docs/transfer.md)."""
