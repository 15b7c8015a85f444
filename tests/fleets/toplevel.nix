# The toplevel of a host of these fleets: a web server that says which revision it is.
name:
let
  library = import ./system;
  revision = import ./revision.nix;
in
library.mkSystem {
  hostName = name;
  inherit (revision) label;
  services = library.base { inherit (revision) gateway; } // {
    web = library.webServer { text = "greeting ${revision.label}"; };
  };
}
