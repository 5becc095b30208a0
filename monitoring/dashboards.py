"""Dashboards for Grafana 12 or later, from the table of panels."""

import json
from collections.abc import Iterator
from typing import Any, Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

from monitoring.panels import Dashboard, Panel

_SOURCE: Final = models.DataSourceRef("prometheus", "${datasource}")
_COLUMNS: Final = 24
_ROW_HEIGHT: Final = 1


def text(of: Dashboard) -> str:
    """The JSON of a dashboard: equal for equal tables."""
    return json.dumps(_built(of), cls=JSONEncoder, sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def _built(of: Dashboard) -> models.Dashboard:
    made = (
        dashboard.Dashboard(of.title)
        .uid(of.uid)
        .description(of.description)
        .tags(["securetenant"])
        .refresh("1m")
        .time("now-6h", "now")
        .timezone("browser")
        .editable()
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_variable("cluster", "Cluster", "label_values(securetenant_build_info, cluster)"))
    )
    if of.has_tenant:
        query = 'label_values(securetenant_tenant_info{cluster=~"$cluster"}, tenant)'
        made = made.with_variable(_variable("tenant", "Tenant", query))
    for title, panels, at in _placed(of):
        made = made.with_row(dashboard.Row(title).grid_pos(models.GridPos(_ROW_HEIGHT, _COLUMNS, 0, at)))
        for panel, place in panels:
            made = made.with_panel(_panel(panel, place))
    return made.build()


def _placed(of: Dashboard) -> Iterator[tuple[str, list[tuple[Panel, models.GridPos]], int]]:
    """Each row with its panels, from left to right and from top to bottom, and where it begins."""
    y = 0
    for title, panels in of.rows:
        at, x, y, highest, placed = y, 0, y + _ROW_HEIGHT, 0, []
        for panel in panels:
            if x + panel.width > _COLUMNS:
                x, y, highest = 0, y + highest, 0
            placed.append((panel, models.GridPos(panel.height, panel.width, x, y)))
            x, highest = x + panel.width, max(highest, panel.height)
        y += highest
        yield title, placed, at


def _variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """All values by default; all of them match what has no such label, as where one Prometheus has one cluster."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(_SOURCE)
        .include_all(True)
        .all_value(".*")
        .multi(True)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


def _panel(panel: Panel, place: models.GridPos) -> Any:  # the SDK's builders have no common type
    make: Any = {"stat": _stat, "timeseries": _series, "table": _table}[panel.kind]
    made = (
        make(panel)
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .grid_pos(place)
        .unit(panel.unit)
        .thresholds(_thresholds(panel))
        .no_value("No data")
    )
    for index, query in enumerate(panel.queries):
        made = made.with_target(_target(panel, query.expr, query.legend, chr(ord("A") + index)))
    return made


def _target(panel: Panel, expr: str, legend: str, ref: str) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(ref).datasource(_SOURCE)
    if panel.kind == "timeseries":
        return query.range()
    query = query.instant()
    return query.format("table") if panel.kind == "table" else query  # type: ignore[arg-type]


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [models.Threshold(value, colour) for value, colour in panel.limits]
    base = "text" if panel.kind != "stat" or not steps else "#56B4E9"
    return (
        dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps([models.Threshold(None, base), *steps])
    )


def _stat(panel: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(common_models.BigValueColorMode.VALUE)
        .graph_mode(common_models.BigValueGraphMode.AREA)
    )


def _series(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().fill_opacity(10).line_width(2).show_points(common_models.VisibilityMode.NEVER).min(0)
    legend = common.VizLegendOptions().show_legend(True).placement(common_models.LegendPlacement.BOTTOM)
    made = made.legend(legend.display_mode(common_models.LegendDisplayMode.LIST))
    if panel.limits:
        style = common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED)
        made = made.thresholds_style(style)
    return made


def _table(panel: Panel) -> table.Panel:
    """One line for each set of labels: the queries are joined by them, the labels come first."""
    values = {
        f"Value #{chr(ord('A') + i)}" if len(panel.queries) > 1 else "Value": q.legend
        for i, q in enumerate(panel.queries)
    }
    order = {name: at for at, name in enumerate((*panel.by, *values))}
    made = (
        table.Panel()
        .with_transformation(models.DataTransformerConfig("merge", options={}))
        .with_transformation(
            models.DataTransformerConfig(
                "organize",
                options={
                    "excludeByName": {"Time": True},
                    "indexByName": order,
                    "renameByName": {**{name: name.capitalize() for name in panel.by}, **values},
                },
            )
        )
        .sort_by([common.TableSortByFieldState().display_name(panel.sort).desc(panel.descending)])
    )
    for column in values.values():
        cell = {"type": "color-text"} if panel.limits else {"type": "auto"}
        properties = [models.DynamicConfigValue("custom.cellOptions", cell)]
        if column in panel.units:
            properties.append(models.DynamicConfigValue("unit", panel.units[column]))
        if column in panel.column_limits:
            steps = [{"color": colour, "value": value} for value, colour in panel.column_limits[column]]
            limits = {"mode": "absolute", "steps": [{"color": "text", "value": None}, *steps]}
            properties.append(models.DynamicConfigValue("thresholds", limits))
        made = made.override_by_name(column, properties)
    return made
