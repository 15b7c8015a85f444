{
  outputs = { self }:
    let
      revision = import ./revision.nix;
      toplevel = import ./toplevel.nix;
      node = name: {
        config = {
          deployment = {
            targetHost = revision.hosts.${name};
            targetPort = 22;
            targetUser = "root";
            tags = [ "web" ];
            buildOnTarget = false;
            privilegeEscalationCommand = [ "sudo" "-H" "--" ];
            sshOptions = [ ];
            keys = revision.keys or { };
            allowLocalDeployment = false;
            replaceUnknownProfiles = true;
          };
          nixpkgs.hostPlatform.system = "x86_64-linux";
          # As the module system says that an option without default was not set.
          nixpkgs.system = throw "nixpkgs.system is not set";
          system.build.toplevel = toplevel name;
        };
      };
      nodes = builtins.mapAttrs (name: _address: node name) revision.hosts;
    in {
      colmenaHive = {
        __schema = "v0.5";
        inherit nodes;
        deploymentConfig = builtins.mapAttrs (_: node: node.config.deployment) nodes;
        toplevel = builtins.mapAttrs (_: node: node.config.system.build.toplevel) nodes;
      };
    };
}
