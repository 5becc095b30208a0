"""The controller: work queue, reconciler, writes, status and reports."""
