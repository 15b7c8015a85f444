"""What CI sends: signatures over raw bytes, and what a payload asks for. Pure; the route is in ``api``."""
