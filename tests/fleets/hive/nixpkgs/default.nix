# Just enough of nixpkgs for a hive: it has a path, a system, and a lib.
{ overlays ? [ ] }:
{
  path = toString ./.;
  system = "x86_64-linux";
  inherit overlays;
  config = { };
  lib = import ./lib.nix;
}
