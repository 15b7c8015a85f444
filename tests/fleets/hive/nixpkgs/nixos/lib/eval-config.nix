# The least of a module system: modules are attribute sets or functions to such; options have defaults; what is set last wins.
{ system, modules, specialArgs }:
let
  lib = import ../../lib.nix;
  merge = old: new:
    if builtins.isAttrs old && builtins.isAttrs new && !(old ? _type) && !(new ? _type)
    then old // builtins.mapAttrs (key: value: if old ? ${key} then merge old.${key} value else value) new
    else new;
  defaults = tree:
    if tree ? _type then tree.default else builtins.mapAttrs (_: defaults) tree;
  called = map (module: if builtins.isFunction module then module ({ inherit config lib; } // specialArgs) else module) modules;
  settings = module: builtins.removeAttrs module [ "options" ];
  options = builtins.foldl' merge { } (map (module: module.options or { }) called);
  config = builtins.foldl' merge (defaults options) (map settings called) // {
    system.build.toplevel = import ../../../toplevel.nix config.networking.hostName;
  };
in
{ inherit config options; }
