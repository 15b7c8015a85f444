# The way in for callers that have only data: what mkSystem takes, as JSON, with the services by kind.
{ optionsJson }:
let
  library = import ./.;
  options = builtins.fromJSON optionsJson;
in library.mkSystem (options // { services = builtins.mapAttrs (_: library.fromData) options.services; })
