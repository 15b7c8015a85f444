# A host that fleetd deploys: a user to log in as, and what it may do. See docs/nixos.md.
{ config, lib, pkgs, ... }:
let
  cfg = config.services.fleetd-target;
  helper = "/etc/fleetd-host/run";
  # What a controller may ask; the helper's other verbs are for root at the console.
  verbs = [ "facts" "status" "trial" "extend" "commit" "release" "stage" "dry-activate" "revert" "settle" ];
in
{
  options.services.fleetd-target = {
    enable = lib.mkEnableOption "this host as a target of fleetd";
    user = lib.mkOption {
      type = lib.types.strMatching "[a-z_][a-z0-9_-]*";
      default = "fleetd-deploy";
      description = "Who the controller logs in as (`user` of the host in the fleet file).";
    };
    controllerKeys = lib.mkOption {
      type = lib.types.nonEmptyListOf lib.types.str;
      example = [ "ssh-ed25519 AAAA… fleetd" ];
      description = "Public halves of the controller's `ssh.identity`; two while it is rotated.";
    };
    signingKeys = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "fleetd-1:base64…" ];
      description = "Public halves of the controller's `signing.nix_key`: the user may push paths that they signed.";
    };
    orderKeys = lib.mkOption {
      type = lib.types.listOf (lib.types.strMatching "ssh-ed25519 [A-Za-z0-9+/=]+( .*)?");
      default = [ ];
      example = [ "ssh-ed25519 AAAA… fleetd orders" ];
      description = ''
        Public halves of the controller's `signing.order_key`. With any, the host obeys only orders that one of them
        signed: the key that logs in is worth nothing by itself. Rotate by deploying both first, then the new one alone.
      '';
    };
    sudo = lib.mkOption {
      type = lib.types.enum [ "helper" "all" ];
      default = "helper";
      description = ''
        What the user may run as root. `helper`: fleetd's helper, at a fixed path, and nothing else. `all`: anything,
        which a controller needs that brings its own helper to the host; whoever has the controller's key is root then.
      '';
    };
    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.fleetd-host;
      defaultText = lib.literalExpression "pkgs.fleetd-host";
      description = "The helper; `overlays.default` of the flake provides `pkgs.fleetd-host`.";
    };
  };

  config = lib.mkIf cfg.enable {
    # A normal user, and lingering: a switch breaks on the sessions of users below 1000, and a user manager that comes
    # and goes with each login would be one more thing that a switch has to restart.
    users.users.${cfg.user} = {
      isNormalUser = true;
      linger = true;
      description = "deploys by fleetd";
      # Port forwarding is what checks through the host use.
      openssh.authorizedKeys.keys = map (key: "restrict,port-forwarding ${key}") cfg.controllerKeys;
    };
    services.openssh.enable = lib.mkDefault true;
    nix.settings.trusted-public-keys = cfg.signingKeys;

    environment.etc."fleetd-host/run".source = "${cfg.package}/bin/fleetd-host";
    environment.etc."fleetd-host/allowed_signers" = lib.mkIf (cfg.orderKeys != [ ]) {
      text = lib.concatMapStrings (key: "fleetd namespaces=\"fleetd-order\" ${key}\n") cfg.orderKeys;
    };
    environment.systemPackages = [ cfg.package ];
    # Takes up a trial that is a reboot, in the boot that it is: without it nothing would take the host back by itself.
    systemd.services.fleetd-boot = {
      description = "fleetd takes up a trial in this boot";
      wantedBy = [ "sysinit.target" ];
      after = [ "local-fs.target" ];
      before = [ "shutdown.target" ];
      conflicts = [ "shutdown.target" ];
      restartIfChanged = false;
      unitConfig = {
        DefaultDependencies = false;
        ConditionPathExists = "/nix/var/fleetd-host/active";
        RequiresMountsFor = "/nix/var/fleetd-host";
      };
      # As a login has it: the helper of the trial runs from its record, with the programs of the running system.
      environment.PATH = lib.mkForce "/run/current-system/sw/bin";
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${cfg.package}/bin/fleetd-host boot";
        Restart = "on-failure";
        RestartSec = 2;
      };
    };
    security.sudo = {
      enable = lib.mkDefault true;
      extraRules = [
        {
          users = [ cfg.user ];
          commands = map (command: { inherit command; options = [ "NOPASSWD" ]; }) (
            # Each verb by itself and without arguments: an order comes on stdin, where no wildcard has to match it.
            if cfg.sudo == "all" then [ "ALL" ] else map (verb: "${helper} ${verb}") verbs
          );
        }
      ];
    };
  };
}
