"""A web server that answers everything with one status and one text: ``web.py PORT STATUS TEXT [LIFE_S]``.

Only sockets and threads: the hosts' Python is a minimal one.
"""

import os
import socket
import sys
import threading

port, status, text = int(sys.argv[1]), sys.argv[2], sys.argv[3].encode() + b"\n"
HEAD = f"HTTP/1.1 {status} Fixture\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode()


def answer(connection: socket.socket) -> None:
    """Read one request, say the page, and hang up."""
    with connection:
        connection.settimeout(5)
        try:
            asked = b""
            while b"\r\n\r\n" not in asked and len(asked) < 65536:
                piece = connection.recv(4096)
                if not piece:
                    return
                asked += piece
            connection.sendall(HEAD + text)
        except OSError:
            return


if len(sys.argv) > 4:
    threading.Timer(float(sys.argv[4]), lambda: os._exit(3)).start()
with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", port))
    listener.listen(64)
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()
