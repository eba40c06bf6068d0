"""Certificates for mail servers of tests, made on the spot by OpenSSL: an authority, and servers it vouches for."""

import ssl
import subprocess
from pathlib import Path


def authority(folder: Path) -> Path:
    """Make an authority in ``folder`` and return its certificate's file."""
    _openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=Test authority",
        "-days", "2", "-keyout", folder / "authority.key", "-out", folder / "authority.pem",
    )  # fmt: skip
    return folder / "authority.pem"


def server_context(folder: Path, name: str, days: int = 2) -> ssl.SSLContext:
    """Return the server's side of TLS under a certificate of the authority in ``folder``: for ``DNS:x`` or ``IP:x``."""
    key, request, signed, extension = (folder / f"server.{ending}" for ending in ("key", "csr", "pem", "ext"))
    extension.write_text(f"subjectAltName = {name}\n")
    _openssl(
        "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=mail",
        "-keyout", key, "-out", request,
    )  # fmt: skip
    _openssl(
        "x509", "-req", "-in", request, "-CA", folder / "authority.pem", "-CAkey", folder / "authority.key",
        "-set_serial", "1", "-days", str(days), "-extfile", extension, "-out", signed,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed, key)
    return context


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)
