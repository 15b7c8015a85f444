"""fleetd moves NixOS fleets from one revision to the next, in waves, and takes hosts back by itself.

Importing the package has no side effects. ``fleetd.daemon`` is the composition root, ``fleetd.rollout`` the pure core.
"""

__version__ = "0.1.0"
