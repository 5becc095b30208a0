"""The API: the models of the SecureTenant resource, from which the CRD is generated."""
