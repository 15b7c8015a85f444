"""``fleetctl``: the API by hand. Libraries for looks are imported only where something is shown."""
