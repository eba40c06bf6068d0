"""Doors before a Temporal server: one that ends TLS as a cluster's does, and one that turns every caller away."""

import contextlib
import socket
import ssl
import struct
import subprocess
import threading

_SETTINGS, _HEADERS, _PING, _ACK = 4, 1, 6, 1
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def make_certificate(folder, name, *more):
    """Return the files of a new certificate for localhost that signs itself, and of its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", certificate, *more],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


class Door:
    """Listens on loopback for as long as the block lasts, and handles each connection on a thread of its own.

    Args:
        handle: Is given each connection.
        pair: Files of a certificate and its key: callers must speak TLS. None: they must not.
        callers: File of the certificate that callers must show; None asks for none.
    """

    def __init__(self, handle, pair=None, callers=None):
        self._handle, self._tls = handle, None
        if pair:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*pair)
            self._tls.set_alpn_protocols(["h2"])
        if callers:
            self._tls.verify_mode = ssl.CERT_REQUIRED
            self._tls.load_verify_locations(callers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"localhost:{self._listener.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=self._listener.accept()[:1], daemon=True).start()

    def _serve(self, plain):
        # A caller that goes away, or whose handshake fails, is its own news.
        with contextlib.suppress(OSError), plain:
            if self._tls:
                with self._tls.wrap_socket(plain, server_side=True) as wrapped:
                    self._handle(wrapped)
            else:
                self._handle(plain)


def forward(address):
    """Return a handler that passes a connection on to ``address``."""

    def handle(caller):
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            # A TLS socket may be read on one thread and written on another; the two must not end each other early.
            back = threading.Thread(target=_pump, args=(server, caller), daemon=True)
            back.start()
            _pump(caller, server)
            back.join()

    return handle


def _pump(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def turn_away(caller):
    """Answer every call as a server does that does not know the caller's key: just enough HTTP/2 for that."""
    incoming = caller.makefile("rb")
    assert incoming.read(len(_PREFACE)) == _PREFACE
    caller.sendall(_frame(_SETTINGS, 0, 0, b""))
    refused = b"\x88" + b"".join(
        b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in (
            (b"content-type", b"application/grpc"), (b"grpc-status", b"16"), (b"grpc-message", b"unknown key"),
        )
    )  # fmt: skip
    while head := incoming.read(9):
        size, kind, flags, stream = int.from_bytes(head[:3]), head[3], head[4], struct.unpack("!I", head[5:])[0]
        body = incoming.read(size)
        if kind == _SETTINGS and not flags & _ACK:
            caller.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            caller.sendall(_frame(_PING, _ACK, 0, body))
        elif kind == _HEADERS:
            caller.sendall(_frame(_HEADERS, 0x5, stream, refused))  # the headers are whole, and end the stream


def _frame(kind, flags, stream, body):
    return len(body).to_bytes(3) + bytes([kind, flags]) + struct.pack("!I", stream) + body
