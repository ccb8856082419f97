"""Binds a notify socket as systemd has one, and prints each datagram as a line of JSON: [sender's pid, lines]."""

import array
import json
import os
import socket
import struct
import sys

address = sys.argv[1]
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
sock.bind("\0" + address[1:] if address.startswith("@") else address)
if not address.startswith("@"):
    os.chmod(address, 0o777)
print("bound", flush=True)
while True:
    data, ancillary, _flags, _sender = sock.recvmsg(8192, 1024)
    pid = 0
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            pid = struct.unpack("3i", content[:12])[0]
        elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            # The barrier of systemd-notify: it waits until the descriptor is closed.
            for descriptor in array.array("i", content):
                os.close(descriptor)
    print(json.dumps([pid, data.decode().split("\n")]), flush=True)
