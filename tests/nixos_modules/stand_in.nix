# As much of nixpkgs' lib as the option files use, so that they can be looked at where there is no nixpkgs: an option is
# what was said of it, a type is its name and its parts. Nothing is merged or checked here; that is nixpkgs' business.
{
  mkOption = option: { isOption = true; } // option;
  types = {
    str = { name = "str"; };
    bool = { name = "bool"; };
    strMatching = _: { name = "str"; };
    enum = values: { name = "enum"; inherit values; };
    listOf = of: { name = "list"; inherit of; };
    nonEmptyListOf = of: { name = "list"; inherit of; };
    nullOr = of: { name = "null"; inherit of; };
    attrsOf = of: { name = "attrs"; inherit of; };
    submodule = module: { name = "submodule"; inherit (module) options; };
  };
}
