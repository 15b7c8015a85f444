"""The loop that owns the world: commands in, one transaction a tick, intents out, outcomes back."""
