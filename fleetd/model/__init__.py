"""The nouns of a fleet: frozen, slotted, standard library only, and without any effect."""
