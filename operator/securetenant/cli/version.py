"""`securetenant version`."""

from securetenant.cli.output import Form, Output, print_json


def version(output: Output = Form.text) -> None:
    """Print the versions of SecureTenant, of Python, and of its Kubernetes API.

    \b
    Examples:
      securetenant version
      securetenant version --output json
    """
    import platform

    from securetenant import __version__
    from securetenant.model import names

    told = {"version": __version__, "python": platform.python_version(), "api": names.API_VERSION}
    if output is Form.json:
        print_json(told)
    else:
        print(f"securetenant {told['version']} (Python {told['python']}, API {told['api']})")
