"""quota: how much a tenant may use."""
