"""MLflow: the registry of models, and the runs of trainings."""
