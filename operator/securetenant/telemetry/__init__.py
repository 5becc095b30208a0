"""What the operator reports: metrics, Events, logs."""
