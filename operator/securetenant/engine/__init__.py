"""The heart: world, work queue, reconciler."""
