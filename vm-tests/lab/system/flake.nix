{
  description = "The lab's hosts as a flake, without inputs and without network";

  outputs = { self }:
    let
      library = import ./.;
      revision = import ./revision.nix;
      toplevel = name: library.mkSystem ({
        hostName = name;
        inherit (revision) label;
        services = library.base { } // { web = library.webServer revision.web; };
      } // (revision.options or { }));
      entry = name: { inherit name; value.config.system.build.toplevel = toplevel name; };
    in {
      lib = library;
      nixosConfigurations = builtins.listToAttrs (map entry revision.hosts);
    };
}
