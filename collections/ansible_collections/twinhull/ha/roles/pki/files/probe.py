"""Asks every TLS port of this node, as an operator who wants nothing, which certificate it shows and whether it takes ours.

Run on the node: `python -c PROBE '{"ports": [[ADDRESS, PORT], ...]}'` with the operator's key and certificate as PEM on
standard input. Prints {"ports": [{"address", "port", "listens", "trusts", "fingerprint"}]}. An operator may connect
to the control port; the others let nobody but the peer in, but say first whether they know who signed for him.
"""

import contextlib
import hashlib
import json
import os
import socket
import ssl
import sys
import tempfile

TIMEOUT_S = 5.0
ALERT_S = 1.0
UNKNOWN = ("unknown_ca", "unknown ca", "bad_certificate", "certificate_unknown", "certificate unknown")


def ask(context, address, port):
    """What the listener says; it is not told apart from a stranger that hangs up."""
    found = {"address": address, "port": port, "listens": False, "trusts": None, "fingerprint": ""}
    try:
        plain = socket.create_connection((address, port), TIMEOUT_S)
    except OSError:
        return found
    found["listens"] = True
    try:
        with contextlib.closing(plain), context.wrap_socket(plain) as tls:
            found["fingerprint"] = hashlib.sha256(tls.getpeercert(binary_form=True)).hexdigest()
            found["trusts"] = True
            tls.settimeout(ALERT_S)
            tls.recv(1)
    except ssl.SSLError as error:
        text = str(error).lower()
        if any(word in text for word in UNKNOWN):
            found["trusts"] = False
    except OSError:
        return found  # it hung up, after it had taken the certificate
    return found


def main():
    """See the head of the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    descriptor, path = tempfile.mkstemp()
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(sys.stdin.read())
        context.load_cert_chain(path)
    finally:
        os.unlink(path)
    wanted = json.loads(sys.argv[1])["ports"]
    print(json.dumps({"ports": [ask(context, address, port) for address, port in wanted]}))


main()
