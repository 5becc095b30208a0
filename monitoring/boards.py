"""All dashboards."""

from typing import Final

from monitoring.operator import OPERATOR
from monitoring.tenants import TENANTS

DASHBOARDS: Final = (TENANTS, OPERATOR)
