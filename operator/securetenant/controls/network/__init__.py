"""network: who may talk to whom."""
