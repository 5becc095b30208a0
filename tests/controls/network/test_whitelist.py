"""Blocks of addresses as they are written into policies."""

import pytest

from securetenant.controls.network.whitelist import canonical_cidr


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("10.8.0.0/16", "10.8.0.0/16"),
        ("64:ff9b::10.8.0.0/112", "64:ff9b::a08:0/112"),
        ("64:FF9B:0:0:0:0:10.8.0.0/112", "64:ff9b::a08:0/112"),
        ("2001:0DB8:0000:0000:0000:0000:0000:0000/32", "2001:db8::/32"),
        ("::1.2.3.4/128", "::102:304/128"),
        ("::/0", "::/0"),
    ],
)
def test_one_way_to_write_a_block(given: str, written: str) -> None:
    """That of RFC 5952, for which the API server has no warning."""
    assert canonical_cidr(given) == written
