"""What is told to the outside: metrics, events, logs."""
