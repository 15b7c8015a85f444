# A system with the contract of a NixOS toplevel, without nixpkgs: plain derivations, and a shell as their builder.
#
#   let lib = import ./.; in lib.mkSystem {
#     hostName = "web1"; label = "v2";
#     services = lib.base { } // { web = lib.webServer { text = "greeting v2"; }; };
#   }
rec {
  # ------------------------------------------------------------------------------------------------ what a unit may be
  # A unit is { text, wanted ? true, name ? "<attribute>.service" }; "@tools@" in its text is where web.py and the others are.
  unit = text: extra: { inherit text; wanted = true; } // extra;

  service = { command, unit ? { }, keys ? { }, wanted ? true }:
    let
      lines = attrs: builtins.concatStringsSep "" (map (key: "${key}=${toString attrs.${key}}\n") (builtins.attrNames attrs));
    in {
      inherit wanted;
      text = "[Unit]\n${lines unit}[Service]\nExecStart=${command}\n${lines keys}";
    };

  # Answers everything, /healthz too, with one status and one text; dies after lifeS seconds where that is given.
  webServer = { port ? 8080, status ? 200, text ? "greeting", lifeS ? null }: service {
    command = "/usr/bin/python3 @tools@/web.py ${toString port} ${toString status} '${text}'"
      + (if lifeS == null then "" else " ${toString lifeS}");
    keys = { Type = "exec"; };
  };
  # Fails at each start.
  failing = { }: service { command = "/bin/false"; keys = { Type = "oneshot"; }; };
  # Its start never ends.
  hanging = { }: service { command = "/usr/bin/sleep infinity"; keys = { Type = "oneshot"; TimeoutStartSec = "infinity"; }; };
  # Its start takes so many seconds: so does every switch to the system that has it.
  slow = { seconds }: service {
    command = "/usr/bin/sleep ${toString seconds}";
    keys = { Type = "oneshot"; RemainAfterExit = "yes"; TimeoutStartSec = "infinity"; };
  };
  # Dies again and again and is started again and again.
  flapping = { }: service { command = "/bin/false"; keys = { Restart = "always"; RestartSec = 3600; }; };
  sshd = { }: service {
    command = "/usr/sbin/sshd -D";
    keys = {
      ExecStartPre = "/usr/bin/mkdir -p /run/sshd";
      KillMode = "process";
      Restart = "always";
      Type = "notify";
      X-StopIfChanged = "false";
    };
  };
  network = { up ? true, gateway ? "" }: service {
    command = "/bin/bash @tools@/network.sh " + (if up then "up ${gateway}" else "down");
    keys = { Type = "oneshot"; RemainAfterExit = "yes"; };
  };
  # Takes up a trial in the boot that it is: the guard of a reboot, as the target module brings it.
  bootGuard = { }: service {
    command = "/bin/bash ${../../../fleetd/host/helper/fleetd-host} boot";
    unit = { DefaultDependencies = "no"; After = "local-fs.target"; ConditionPathExists = "/nix/var/fleetd-host/active"; };
    keys = { Type = "oneshot"; RemainAfterExit = "yes"; Restart = "on-failure"; RestartSec = 2; X-RestartIfChanged = "false"; };
  };
  # What a host needs to be reached.
  base = { gateway ? "" }: { sshd = sshd { }; network = network { inherit gateway; }; };

  # By name, for callers that have only data: { kind = "webServer"; port = 8080; }, or { kind = "unit"; text = …; wanted = …; }.
  kinds = { inherit bootGuard webServer failing hanging slow flapping sshd network service; };
  fromData = data:
    let arguments = builtins.removeAttrs data [ "kind" ];
    in if data.kind == "unit" then unit arguments.text { inherit (arguments) wanted; } else kinds.${data.kind} arguments;

  # --------------------------------------------------------------------------------------------------------- the system
  coreTools = [
    "awk" "base64" "basename" "bash" "busctl" "cat" "chgrp" "chmod" "chown" "cmp" "cp" "cut" "date" "dd" "df" "diff" "dirname"
    "du" "echo" "env" "expr" "false" "find" "flock" "fold" "grep" "gzip" "head" "hostname" "id" "install" "ip" "journalctl"
    "kill" "ln" "logger" "loginctl" "ls" "md5sum" "mkdir" "mkfifo" "mktemp" "mount" "mountpoint" "mv" "nice" "nix"
    "nix-build" "nix-channel" "nix-collect-garbage" "nix-copy-closure" "nix-daemon" "nix-env" "nix-instantiate" "nix-store"
    "nohup" "nproc" "od" "printenv" "printf" "ps" "pwd" "readlink" "realpath" "rm" "rmdir" "sed" "seq" "setpriv" "setsid" "sh"
    "sha256sum" "sleep" "sort" "ss" "ssh" "ssh-keygen" "stat" "stty" "sync" "systemctl" "systemd-cat" "systemd-run" "tail"
    "tar" "tee" "test" "timeout" "touch" "tr" "true" "truncate" "tty" "umount" "uname" "uniq" "uptime" "wall" "wc" "who" "xargs"
  ];

  mkSystem =
    { hostName
    , label ? "v1"
    , services ? { }
      # Faults by name, see README.md; the values are text.
    , faults ? { }
      # systemd-boot, newest, lanzaboote, extlinux, none
    , bootKind ? "systemd-boot"
      # configurationLimit; 0 is none
    , bootLimit ? 10
    , kernelVersion ? "6.12.1"
      # How big kernel and initrd are, each: to fill a small /boot.
    , kernelKiB ? 4
    , kernelParams ? "loglevel=4"
    , initInterface ? "systemd 1"
    , inhibitors ? { dbus-implementation = "dbus"; }
      # Another one: a switch re-executes PID 1.
    , systemdVersion ? "257"
      # What the system says it is for; it is always built for the machine that builds.
    , system ? "x86_64-linux"
    , buildSystem ? builtins.currentSystem or "x86_64-linux"
    , tools ? coreTools
    }:
    let
      scripts = ./tools;
      units = builtins.listToAttrs (map
        (name: { name = if builtins.match ".*\\.[a-z]+" name == null then "${name}.service" else name; value = services.${name}; })
        (builtins.attrNames services));
      names = builtins.attrNames units;
      fileOf = name: builtins.toFile (builtins.replaceStrings [ "@" ] [ "-" ] name)
        (builtins.replaceStrings [ "@tools@" ] [ "${scripts}" ] units.${name}.text);
      shell = text: { builder = "/bin/sh"; args = [ "-euc" "PATH=/usr/bin:/bin\n${text}" ]; system = buildSystem; };
      lines = f: items: builtins.concatStringsSep "\n" (map f items);
      put = text: file: "printf '%s' ${quote text} > $out/${file}";
      quote = text: "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] (toString text)}'";
      program = file: command: ''
        cat > $out/${file} <<'END'
        #!/bin/bash
        ${command}
        END
        sed -i "s|@out@|$out|g" $out/${file}
        chmod +x $out/${file}
      '';
      part = name: file: derivation (shell ''
        mkdir $out
        printf '%s' ${quote "${name} ${kernelVersion}"} > $out/${file}
        truncate -s ${toString kernelKiB}K $out/${file}
      '' // { inherit name; });
      kernel = part "linux-${kernelVersion}" "bzImage";
      initrd = part "initrd-linux-${kernelVersion}" "initrd";
      modules = part "linux-${kernelVersion}-modules" "modules";
      systemd = derivation (shell "mkdir $out" // { name = "systemd-${systemdVersion}"; });
    in derivation (shell ''
      mkdir -p $out/bin $out/sw/bin $out/etc/systemd/system/multi-user.target.wants $out/faults $out/specialisation
      ${put label "nixos-version"}
      ${put system "system"}
      ${put systemdVersion "systemd-version"}
      ${put initInterface "init-interface-version"}
      ${put (builtins.toJSON inhibitors) "switch-inhibitors"}
      ${put kernelParams "kernel-params"}
      ${put hostName "etc/hostname"}
      ln -s ${kernel}/bzImage $out/kernel
      ln -s ${initrd}/initrd $out/initrd
      ln -s ${modules} $out/kernel-modules
      ln -s ${systemd} $out/systemd
      ${lines (name: "ln -s ${fileOf name} $out/etc/systemd/system/${name}") names}
      ${lines (name: "ln -s ../${name} $out/etc/systemd/system/multi-user.target.wants/${name}")
        (builtins.filter (name: units.${name}.wanted) names)}
      cat > $out/etc/systemd/system/multi-user.target <<'END'
      [Unit]
      Description=Multi-User System
      Requires=basic.target
      Conflicts=rescue.service rescue.target
      After=basic.target rescue.service rescue.target
      AllowIsolate=yes
      END
      ${lines (name: put faults.${name} "faults/${name}") (builtins.attrNames faults)}
      for tool in ${builtins.concatStringsSep " " tools}; do ln -s /usr/bin/$tool $out/sw/bin/$tool; done
      ${program "bin/switch-to-configuration" "TOPLEVEL=@out@ exec /bin/bash ${scripts}/switch-to-configuration.sh \"$@\""}
      ${program "activate" "TOPLEVEL=@out@ exec /bin/bash ${scripts}/activate.sh"}
      ${program "boot-loader"
        "exec /bin/bash ${scripts}/boot-loader.sh ${bootKind} ${toString bootLimit} @out@/faults \"$1\""}
      ${program "sw/bin/bootctl" "exec /bin/bash ${scripts}/bootctl.sh \"$@\""}
      ${program "init" "TOPLEVEL=@out@ exec /bin/bash ${scripts}/stage-2.sh \"$@\""}
    '' // { name = "nixos-system-${hostName}-${label}"; });
}
