"""One fine-tuning run on one device. Knows nothing of Ray, Optuna or MLflow."""
