"""A web server that answers everything with one status and one text: ``web.py PORT STATUS TEXT [LIFE_S]``."""

import http.server
import os
import sys
import threading


class Page(http.server.BaseHTTPRequestHandler):
    """Every path, also /healthz, says the same."""

    def do_GET(self) -> None:
        body = sys.argv[3].encode() + b"\n"
        self.send_response(int(sys.argv[2]))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Say nothing."""


if len(sys.argv) > 4:
    threading.Timer(float(sys.argv[4]), lambda: os._exit(3)).start()
http.server.ThreadingHTTPServer.allow_reuse_address = True
http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Page).serve_forever()
