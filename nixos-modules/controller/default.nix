# fleetd's controller as a service. See docs/nixos.md.
{ config, lib, pkgs, ... }:
let
  cfg = config.services.fleetd;
  toml = pkgs.formats.toml { };
  # A key that is null is not written: the daemon's own default holds.
  configFile = toml.generate "fleetd.toml" (lib.filterAttrsRecursive (_: value: value != null) cfg.settings);
in
{
  options.services.fleetd = {
    enable = lib.mkEnableOption "fleetd, which rolls NixOS fleets forward in waves, and back";
    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.fleetd;
      defaultText = lib.literalExpression "pkgs.fleetd";
      description = "The package; `overlays.default` of the flake provides `pkgs.fleetd`.";
    };
    settings = import ./settings.nix { inherit lib; };
    credentials = lib.mkOption {
      type = lib.types.attrsOf lib.types.str;
      default = { };
      example = { ssh-key = "/run/secrets/fleetd-ssh"; };
      description = ''
        Secrets by name, each a file that only root needs to be able to read. The daemon finds them at
        `/run/credentials/fleetd.service/NAME`.
      '';
    };
    fleet = lib.mkOption {
      type = lib.types.nullOr toml.type;
      default = null;
      description = "The fleet file, written in Nix. A change of it alone is read anew without a restart.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.fleetd.settings = {
      ssh.identity = lib.mkIf (cfg.credentials ? ssh-key) (lib.mkDefault "/run/credentials/fleetd.service/ssh-key");
      fleet.path = lib.mkIf (cfg.fleet != null) (lib.mkDefault "/etc/fleetd/fleet.toml");
    };

    users.users.fleetd = {
      isSystemUser = true;
      group = "fleetd";
      home = cfg.settings.state.directory;
      description = "fleetd's controller";
    };
    # Its members may do everything at the socket.
    users.groups.fleetd = { };

    environment.systemPackages = [ cfg.package ];
    environment.etc = {
      "fleetd/config.toml".source = configFile;
    } // lib.optionalAttrs (cfg.fleet != null) {
      "fleetd/fleet.toml".source = toml.generate "fleet.toml" cfg.fleet;
    };

    systemd.services.fleetd = {
      description = "fleetd, the fleet deployment and rollback daemon";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" "nix-daemon.socket" ];
      path = [ config.nix.package pkgs.git pkgs.openssh ];
      # Caches of evaluations; HOME is for Nix and git, which look there for settings.
      environment = { XDG_CACHE_HOME = "/var/cache/fleetd"; HOME = cfg.settings.state.directory; };
      restartTriggers = [ configFile ];
      reloadTriggers = lib.optional (cfg.fleet != null) config.environment.etc."fleetd/fleet.toml".source;
      # fleetd may deploy the host it runs on. Restarted at the end of the switch and not stopped at its beginning, it
      # is away for a moment, which every trial survives.
      stopIfChanged = false;
      unitConfig = {
        # A mistake in a file does not go away by itself; after this the unit is failed, which monitoring sees.
        StartLimitIntervalSec = 300;
        StartLimitBurst = 10;
      };
      serviceConfig = {
        Type = "notify";
        NotifyAccess = "main";
        ExecStart = "${cfg.package}/bin/fleetd --config /etc/fleetd/config.toml";
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        Restart = "always";
        RestartSec = 2;
        WatchdogSec = 60;
        # One last extend of every trial is allowed 15 s, and children are killed within 10 s.
        TimeoutStopSec = 45;
        User = "fleetd";
        Group = "fleetd";
        StateDirectory = "fleetd";
        StateDirectoryMode = "0700";
        CacheDirectory = "fleetd";
        CacheDirectoryMode = "0700";
        RuntimeDirectory = "fleetd";
        RuntimeDirectoryMode = "0750";
        LoadCredential = lib.mapAttrsToList (name: path: "${name}:${path}") cfg.credentials;
        UMask = "0077";
        LimitNOFILE = 65536;

        # It needs the network, its own directories and the socket of the Nix daemon, and nothing else.
        CapabilityBoundingSet = "";
        LockPersonality = true;
        NoNewPrivileges = true;
        PrivateDevices = true;
        PrivateTmp = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHome = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        ProtectSystem = "strict";
        ReadWritePaths = lib.optional (cfg.settings.state.directory != "/var/lib/fleetd") cfg.settings.state.directory;
        RemoveIPC = true;
        RestrictAddressFamilies = [ "AF_INET" "AF_INET6" "AF_UNIX" "AF_NETLINK" ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" "~@privileged" "~@resources" ];
        SystemCallErrorNumber = "EPERM";
      };
    };
  };
}
