"""The sweep: what to try (Optuna), where it runs (Ray Tune), what is shown (MLflow)."""
