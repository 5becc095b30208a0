"""The network plug-ins' kinds on the sandbox, which runs none of them: their CustomResourceDefinitions, so that what is
written is validated as on a cluster that has the plug-in.
"""
