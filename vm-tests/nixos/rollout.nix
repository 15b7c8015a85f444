# Two NixOS hosts and a controller: a good revision is committed on both, a bad one goes back by itself.
# Never run where this was written: there is no NixOS binary cache in reach. docs/nixos.md says what follows from that.
{ nixosModules }:
{ lib, hostPkgs, ... }:
let
  keys = import (hostPkgs.path + "/nixos/tests/ssh-keys.nix") hostPkgs;
  names = [ "web1" "web2" ];

  web = answer: {
    systemd.services.web = {
      wantedBy = [ "multi-user.target" ];
      serviceConfig.ExecStart = "${hostPkgs.python3}/bin/python3 -m http.server --directory ${
        hostPkgs.writeTextDir "healthz" answer
      } 8080";
    };
    networking.firewall.allowedTCPPorts = [ 8080 ];
  };

  target = { lib, ... }: {
    imports = [ nixosModules.target ];
    services.fleetd-target = {
      enable = true;
      controllerKeys = [ keys.snakeOilPublicKey ];
      # This release of the controller brings its own helper.
      sudo = "all";
    };
    # Pushed paths are not signed here.
    nix.settings.trusted-users = [ "fleetd-deploy" ];
    virtualisation.writableStore = true;
    # The systems to deploy, built beforehand.
    specialisation = lib.genAttrs [ "good" "bad" ] (answer: {
      inheritParentConfig = true;
      configuration = web answer;
    });
  };
in
{
  name = "fleetd-rollout";

  nodes = lib.genAttrs names (_: target) // {
    control = { nodes, pkgs, ... }: {
      imports = [ nixosModules.controller ];
      virtualisation.additionalPaths = map (name: nodes.${name}.system.build.toplevel) names;
      environment.etc = {
        "fleetd/ssh-key" = { source = keys.snakeOilPrivateKey; mode = "0400"; };
        "fleetd/known_hosts" = { text = ""; mode = "0644"; };
      };
      services.fleetd = {
        enable = true;
        credentials.ssh-key = "/etc/fleetd/ssh-key";
        settings.ssh.known_hosts = "/etc/fleetd/known_hosts";
        fleet = {
          # A test's machine has no boot loader of its own: its kernel comes from outside.
          defaults = { user = "fleetd-deploy"; privilege = "sudo"; boot = "external"; };
          hosts = lib.genAttrs names (_: { });
          checks = [
            { name = "web answers"; http = { url = "http://{address}:8080/healthz"; contains = "good"; }; successes = 2; }
          ];
          policies.default = {
            waves = [ { name = "canary"; count = 1; soak = "5s"; } ];
            min_healthy = "5s";
            healthy_deadline = "2m";
          };
        };
      };
    };
  };

  testScript = { nodes, ... }:
    let
      system = name: answer: "${nodes.${name}.system.build.toplevel}/specialisation/${answer}";
      deploy = answer: "fleetctl deploy " + lib.concatMapStringsSep " " (
        name: "--toplevel ${name}=$(readlink -f ${system name answer})"
      ) names;
    in
    ''
      start_all()
      for host in (web1, web2):
          host.wait_for_unit("sshd.service")
      control.wait_for_unit("multi-user.target")
      control.succeed("ssh-keyscan web1 web2 > /etc/fleetd/known_hosts")
      control.succeed("systemctl restart fleetd.service")
      control.wait_for_unit("fleetd.service")

      with subtest("a good revision is committed on every host"):
          control.succeed("${deploy "good"}")
          web1.succeed("test $(readlink -f /run/current-system) = $(readlink -f ${system "web1" "good"})")
          web2.succeed("test $(readlink -f /nix/var/nix/profiles/system) = $(readlink -f ${system "web2" "good"})")

      with subtest("a bad revision goes back by itself, and the second host is not touched"):
          control.fail("${deploy "bad"}")
          web1.succeed("test $(readlink -f /run/current-system) = $(readlink -f ${system "web1" "good"})")
          web2.succeed("test $(readlink -f /run/current-system) = $(readlink -f ${system "web2" "good"})")

      with subtest("the hardening lets the service do its work and not more"):
          control.succeed("systemd-analyze security --threshold=30 fleetd.service")
          control.succeed("test $(stat -c %a:%G /run/fleetd/fleetd.sock) = 660:fleetd")
    '';
}
