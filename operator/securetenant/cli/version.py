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

    shown = {"version": __version__, "python": platform.python_version(), "api": names.API_VERSION}
    if output is Form.json:
        print_json(shown)
    else:
        print(f"securetenant {shown['version']} (Python {shown['python']}, API {shown['api']})")
