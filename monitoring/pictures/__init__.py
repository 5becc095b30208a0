"""Pictures of the dashboards for the docs: the same panels, asked of a real Prometheus, and drawn without Grafana."""
