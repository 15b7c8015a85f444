"""One host at the other end of ssh: connections, the helper program that speaks for it, and its wire form."""
