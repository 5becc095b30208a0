"""The contract: the models of SecureTenant, and the values that pass between the layers."""
