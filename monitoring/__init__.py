"""What Prometheus and Grafana are told: alerts, recording rules and dashboards, from typed tables.

alerts.py      the table of alerts and recording rules
panels.py      what a panel is
tenants.py     the panels of the dashboard *Tenants*
operator.py    those of *Operator*
boards.py      both
dashboards.py  the dashboards, by Grafana's SDK
rules.py       the rules as Prometheus reads them
files.py       the files of manifests/components/monitoring, written or compared

``python -m monitoring`` writes them, ``python -m monitoring --check`` compares them (``make lint``). Nothing of it
ships in the image.
"""
