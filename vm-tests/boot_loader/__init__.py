"""A machine with real firmware and a real boot loader, where the helper's words on both are held against what boots."""
