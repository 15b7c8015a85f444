"""Nix on the control node: evaluation, builds, closures, archives, signatures, and what keeps paths alive."""
