"""Closures onto hosts: a client of ``nix-store --serve --write`` that never waits for one path before the next."""
