# What fleetd wants to know of an evaluated colmena hive (schema v0.5), as plain data. Secrets stay where they are: of a
# key only its name is looked at.
hive:
let
  attempt = value: default: let tried = builtins.tryEval value; in if tried.success then tried.value else default;
  # A node says it by nixpkgs.hostPlatform, or, in older configurations, by nixpkgs.system.
  system = config: attempt (config.nixpkgs.hostPlatform.system or (throw "")) (attempt (config.nixpkgs.system or null) null);
  describe = name: deployment: {
    targetHost = deployment.targetHost or name;
    targetPort = deployment.targetPort or null;
    targetUser = deployment.targetUser or null;
    tags = deployment.tags or [ ];
    buildOnTarget = deployment.buildOnTarget or false;
    privilegeEscalationCommand = deployment.privilegeEscalationCommand or [ "sudo" "-H" "--" ];
    sshOptions = deployment.sshOptions or [ ];
    keys = builtins.attrNames (deployment.keys or { });
    system = system (hive.nodes.${name}.config or { });
  };
in
builtins.mapAttrs describe
  (hive.deploymentConfig or (throw "this is no evaluated hive: colmenaHive is made by colmena.lib.makeHive"))
