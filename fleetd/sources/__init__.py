"""Where the fleet file is: a file of TOML or JSON."""
