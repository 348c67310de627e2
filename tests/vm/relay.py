"""Connects stdin and stdout to a port of 127.0.0.1. QEMU's user network starts this for each connection that the machine makes."""
import os
import select
import socket
import sys

peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
peer.settimeout(None)
ends = {0: peer.sendall, peer.fileno(): lambda data: os.write(1, data)}
while ends:
    for source in select.select(list(ends), [], [])[0]:
        data = os.read(source, 65536)
        if data:
            ends[source](data)
        elif source:
            sys.exit()  # nothing more can come
        else:
            peer.shutdown(socket.SHUT_WR)
            del ends[0]
