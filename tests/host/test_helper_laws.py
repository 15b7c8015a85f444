"""Every law holds for the helper, and each protection that is taken out breaks its law."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest

from fleetd.host.wire import encode_order
from fleetd.model.order import Verb
from tests.host import laws, laws_of_generations, laws_of_goals, laws_of_reboots, laws_of_triggers, laws_of_units
from tests.host.rig import HELPER, STEP_TIMEOUT_S, Rig
from tests.host.test_helper_against_the_model import place

ROOMS = (laws, laws_of_units, laws_of_reboots, laws_of_triggers, laws_of_goals, laws_of_generations)
LAWS = {law.__name__: law for room in ROOMS for law in room.LAWS}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug planted in a copy of the helper: ``old`` occurs once in it and becomes ``new``."""

    law: str
    old: str
    new: str


MUTANTS = (
    Mutant("old_generations_go_with_a_commit", 'root_committed && tidy "$id"', "root_committed"),
    Mutant("nothing_goes_where_no_order_says_so", '  [ "${M[keep_newest]:-0}" -gt 0 ] || return 0\n', ""),
    Mutant(
        "nothing_goes_with_a_commit_that_is_undone",
        """  if commit_steps; then\n""",
        """  tidy() { find_surplus; take_generations "${SURPLUS[@]}"; }; tidy "$id"\n  if commit_steps; then\n""",
    ),
    Mutant("what_the_controller_may_go_back_to_stays", '"${M[runs]:-}" ${M[keep_systems]:-}; do', '"${M[runs]:-}"; do'),
    Mutant("what_is_booted_and_what_would_boot_stays", ' "$R/run/booted-system" "$ROOTS"/*; do', ' "$ROOTS"/*; do'),
    Mutant("what_a_rollout_has_rooted_stays", ' "$R/run/booted-system" "$ROOTS"/*; do', ' "$R/run/booted-system"; do'),
    Mutant("what_is_young_stays", ' || is_young "$link"; then', "; then"),
    Mutant(
        "the_boot_menu_keeps_its_systems_until_it_is_made_anew",
        """[ -z "$REPLY" ] || root "menu-$number" "$REPLY" || return 0""",
        ":",
    ),
    Mutant("a_root_of_the_menu_that_is_no_longer_needed_goes", '    rm -f "$ROOTS"/menu-*\n', ""),
    Mutant(
        "nothing_goes_where_nobody_knows_the_boot_menu",
        '  [ "${M[boot_external]:-no}" != yes ] || return 0 # nobody',
        "  : # nobody",
    ),
    Mutant("only_so_many_go_at_once_and_the_oldest_first", ":0:TAKEN_AT_ONCE}", ":0}"),
    Mutant(
        "a_nix_that_takes_nothing_does_not_undo_a_commit",
        '    echo "fleetd: generations could not be taken away: $*"',
        """    move "${M[id]}" undoing commit ''""",
    ),
    Mutant(
        "a_lower_fence_is_refused", '    refuse stale-fence "the host holds $held"\n  fi\n  if', "    :\n  fi\n  if"
    ),
    Mutant("an_equal_fence_with_other_words_is_refused", '[ "$held_digest" = "$digest" ] ||', "true ||"),
    Mutant("a_repeat_does_nothing", "    answer ok repeat\n    exit 0\n", "    :\n"),
    Mutant("after_a_settle_no_earlier_order_takes_effect", 'put "$S/fence" "', '[ "$1" = settle ] || put "$S/fence" "'),
    Mutant("a_fence_is_durable_before_its_order_is_obeyed", 'put "$S/fence" "', '[ "$1" = trial ] || put "$S/fence" "'),
    Mutant("an_extend_carries_exactly_the_fence", '[ "${O[fence]}" = "$held" ] || refuse', "true || refuse"),
    Mutant("an_order_for_another_machine_is_refused", '[ "$REPLY" = "${O[machine_id]}" ] ||', "true ||"),
    Mutant("an_order_of_another_boot_is_refused", '[ "$REPLY" = "${O[boot_id]}" ] ||', "true ||"),
    Mutant("a_late_order_is_refused", '[ "$REPLY" -le "${O[uptime_limit_s]}" ] ||', "true ||"),
    Mutant("another_current_system_is_drift", '[ "$current" = "${O[expect_current]:-}" ] ||', "true ||"),
    Mutant("another_profile_is_drift", '[ "$profile" = "${O[expect_profile]:-}" ] ||', "true ||"),
    Mutant("a_boot_default_that_does_not_run_is_unsettled", "    refuse unsettled ", "    true "),
    Mutant("a_second_trial_is_refused_while_one_runs", 'still "$REPLY" || refuse busy ', "true || refuse busy "),
    Mutant("an_id_is_tried_once", '[ ! -e "$S/${O[id]}/state" ] ||', "true ||"),
    Mutant("a_system_that_is_not_in_the_store_is_refused", "2>/dev/null || refuse not-valid", "2>/dev/null || true"),
    Mutant("a_system_of_other_bytes_is_refused", '[ "$hash" = "${O[nar_hash]}" ] ||', "true ||"),
    Mutant("an_order_that_is_too_long_is_refused_whole", "[ ${#ORDER} -le $LIMIT ] ||", "true ||"),
    Mutant(
        "a_trial_without_its_times_is_refused_before_its_fence",
        "case $1 in trial | stage) needed=",
        "case - in trial) needed=",
    ),
    Mutant("only_shared_inhibitors_are_compared", '[ "${before[x$key]+set}" ] || continue', "true"),
    Mutant(
        "a_shared_inhibitor_that_differs_needs_a_reboot",
        '[ -z "$REPLY" ] || found="$found${found:+; }switch',
        "true ||",
    ),
    Mutant("a_wrapper_in_the_profile_is_the_system_that_it_wraps", "|| REPLY=$runs\n}", "|| true\n}"),
    Mutant("another_system_in_the_profile_is_not_taken_for_a_wrapper", "|| echo none)", ")"),
    Mutant("what_only_a_boot_can_change_is_named", '|| reasons="$reasons $part"', "|| true"),
    Mutant("a_boot_partition_without_room_is_refused", '[ "$NEED" -le "$FREE" ] || refuse', "true || refuse"),
    Mutant("a_kernel_that_is_there_needs_no_room", '[ -e "$target" ] || [ -e "$target.efi" ] || NEED=', "NEED="),
    Mutant(
        "the_guard_is_armed_before_the_switch",
        'if ! ctl_retry start "fleetd-guard-$id.service" || ! unit_active "fleetd-guard-$id.service"; then',
        "if false; then",
    ),
    Mutant(
        "a_switch_that_cannot_be_started_ends_where_it_began",
        '  if ! ctl_retry start --no-block "fleetd-switch',
        '  if ! true "fleetd-switch',
    ),
    Mutant(
        "state_is_on_disk_before_its_effect",
        '  { put "$d/deadline"',
        '  ctl_retry start --no-block "fleetd-switch-$id.service"\n  { put "$d/deadline"',
    ),
    Mutant(
        "a_full_disk_refuses_the_trial",
        'ssh=$connection" || fail disk-full "cannot write the record"',
        'ssh=$connection"',
    ),
    Mutant("the_guard_takes_back_what_nobody_confirms", 'if [ "$now" -gt "$deadline" ] && !', "if false && !"),
    Mutant(
        "a_switch_that_never_ends_is_taken_back",
        '    switching | trial | rebooting) get "$S/$id/deadline" ;;',
        '    switching) REPLY=999999999 ;;\n    trial | rebooting) get "$S/$id/deadline" ;;',
    ),
    Mutant("from_the_end_of_the_switch_only_silence_counts", '[ "$lower" -ge "${REPLY:-0}" ] ||', "true ||"),
    Mutant("extending_never_goes_beyond_the_cap", "[ $to -le $cap ] ||", "true ||"),
    Mutant("a_passed_deadline_cannot_be_extended", '[ "$2" -lt "${REPLY:-0}" ]', "true"),
    Mutant("a_shutdown_is_no_deadline", '[ "$now" -gt "$deadline" ] && ! stopping', '[ "$now" -gt "$deadline" ]'),
    Mutant(
        "a_switch_that_was_killed_is_never_taken_for_done",
        "    *) REPLY=interrupted ;;\n    esac",
        "    *) REPLY=live ;;\n    esac",
    ),
    Mutant("a_switch_that_was_killed_in_its_activation_is_taken_back", 'elif killed "$1"; then', "elif false; then"),
    Mutant("a_switch_that_never_began_leaves_nothing_to_take_back", "|| code=never", "|| true"),
    Mutant("a_system_is_switched_to_as_by_hand", "as_any_switch() { umask 022; }", "as_any_switch() { :; }"),
    Mutant("an_interrupted_switch_is_resumed_once", "retried=1; continue;", "retried=1;"),
    Mutant("a_switch_that_stays_interrupted_is_taken_back", "  has_lists && lists=yes\n", ""),
    Mutant("a_switch_runs_once", '[ ! -e "$S/$id/switch.started" ] || exit 0', ":"),
    Mutant("a_commit_without_a_guard_is_refused", '  inactive) WHY="the guard is gone"; return 1 ;;', "  inactive) ;;"),
    Mutant("a_silent_systemd_is_no_dead_guard", "  REPLY=unknown\n", "  REPLY=inactive\n"),
    Mutant("a_commit_moves_profile_and_boot_default", "committing && root_committed", "committing"),
    Mutant(
        "a_commit_whose_loader_lies_is_undone",
        'boots "${M[new]}" || { WHY',
        "true || { WHY",
    ),
    Mutant(
        "a_commit_whose_loader_garbles_its_file_is_undone",
        ' && [ "${M[boot_external]:-no}" = yes ]; }',
        "; }",
    ),
    Mutant(
        "a_way_back_whose_loader_garbles_its_file_is_not_well",
        '[ "$REPLY" = "${M[old]}" ] && boots "${M[old]}"',
        '[ "$REPLY" = "${M[old]}" ]',
    ),
    Mutant(
        "a_host_whose_loader_nobody_can_read_is_committed_by_permission",
        '[ "$BOOT_DEFAULT" = "$1" ] || {',
        '[ "$BOOT_DEFAULT" = "$1" ] && {',
    ),
    Mutant(
        "a_commit_whose_profile_lies_is_undone",
        '[ "$REPLY" = "${M[new]}" ] || { WHY="the profile is',
        'true || { WHY="the profile is',
    ),
    Mutant(
        "a_profile_that_lies_on_the_way_back_is_not_well",
        '    [ "$REPLY" = "${M[old]}" ] || return 1\n  fi\n',
        "  fi\n",
    ),
    Mutant(
        "a_commit_goes_on_when_a_collector_fails_its_installer",
        '  [ "$(compgen -G "$PROFILE-*-link")" != "$listed" ] || return 1\n',
        "  return 1\n",
    ),
    Mutant("a_collector_waits_while_the_profile_is_set", "  ( lock_profile; timeout", "  ( timeout"),
    Mutant(
        "a_profile_is_set_also_where_it_cannot_be_locked",
        "( lock_profile; timeout",
        "( lock_profile && [ -e /proc/self/fd/7 ] && timeout",
    ),
    Mutant("what_the_installer_said_is_told_with_a_commit_that_failed", '  add_last_words "fleetd-commit-$id"\n', ""),
    Mutant("the_log_of_a_commit_that_failed_has_its_installer", ' *) log_of_default "$1" "$2" ;;', " *) ;;"),
    Mutant("a_commit_that_fails_is_undone", '  undo_default "$id" || loader=failed\n', ""),
    Mutant(
        "a_commit_that_hangs_is_undone_by_the_guard",
        'committing) get "$S/$id/commit.deadline" ;;',
        "committing) REPLY=999999999 ;;",
    ),
    Mutant(
        "a_commit_that_is_undone_runs_no_longer",
        '|| end_unit "fleetd-commit-$1.service" || return 1',
        "|| true",
    ),
    Mutant(
        "a_way_back_is_not_well_while_the_commit_may_run",
        '|| end_unit "fleetd-commit-$1.service" || return 1',
        '|| end_unit "fleetd-commit-$1.service"',
    ),
    Mutant("a_commit_that_lost_the_race_is_not_committed", '    [ "$now" = "$from" ] || continue\n', ""),
    Mutant(
        "a_commit_is_not_reverted_by_order",
        "  require_active switching trial\n",
        "  require_active switching trial committing\n",
    ),
    Mutant(
        "a_system_that_does_not_run_is_not_committed",
        '  [ "$REPLY" = "${M[new]}" ] || { WHY="it runs',
        '  true || { WHY="it runs',
    ),
    Mutant(
        "power_lost_in_a_commit_is_undone_or_finished",
        'if [ "$runs" = "${M[old]}" ] && [ "$profile" = "${M[old]}" ] &&',
        'if [ "$runs" = "${M[old]}" ] &&',
    ),
    Mutant(
        "a_revert_that_runs_after_a_reboot_says_itself_how_it_ends",
        '    [ "$REPLY" = inactive ] || return 0\n    mend_after_boot',
        "    mend_after_boot",
    ),
    Mutant(
        "power_lost_after_the_whole_commit_is_committed",
        '  elif [ "$state" = committing ] &&',
        '  elif [ "$state" = trial ] &&',
    ),
    Mutant(
        "a_person_at_the_console_is_told_a_program_that_is_there",
        "  $0 show |",
        "  /nix/var/nix/gcroots/fleetd/helper show |",
    ),
    Mutant("a_commit_from_the_console_is_told_as_one", 'begin_commit "$id" console', 'begin_commit "$id" order'),
    Mutant(
        "a_commit_from_the_console_that_cannot_begin_says_so",
        '|| { echo "cannot finish: $WHY"; exit 1; }',
        "|| true",
    ),
    Mutant(
        "a_commit_that_cannot_be_written_down_is_no_refusal",
        '2) fail disk-full "$WHY" ;;',
        '2) refuse bad-state "$WHY" ;;',
    ),
    Mutant(
        "a_revert_is_judged_by_what_the_host_shows",
        '  if ! went_back "$id" "$code"; then',
        '  if [ "$code" != 0 ]; then',
    ),
    Mutant(
        "what_the_switch_left_in_the_queue_is_ended_and_nothing_else",
        """*$'\\n'"$job $unit"$'\\n'*) continue""",
        "no) continue",
    ),
    Mutant("a_revert_that_leaves_a_unit_down_is_not_well", '  [ -z "$WHY" ]\n}', "  true\n}"),
    Mutant("a_revert_that_was_killed_twice_ends", "REVERT_RUNS=6", "REVERT_RUNS=2"),
    Mutant("a_revert_whose_program_cannot_end_is_finished_by_hand", "    finish_by_hand\n", ""),
    Mutant("a_switch_back_that_owes_something_is_not_well", "    ! has_lists || WHY=", "    true || WHY="),
    Mutant(
        "a_loader_that_fails_does_not_keep_a_host_unreachable",
        'undo_default "$id" || loader=failed',
        'undo_default "$id" || return 1',
    ),
    Mutant(
        "an_unreadable_loader_is_put_back_after_a_commit_began",
        '|| [ -e "$S/$1/commit.deadline" ] || [',
        "|| [",
    ),
    Mutant("a_host_that_an_operator_switched_is_left_alone", 'foreign() { [ -n "$1" ] &&', "foreign() { false &&"),
    Mutant("a_link_that_cannot_be_read_is_no_operator", 'foreign() { [ -n "$1" ] &&', "foreign() {"),
    Mutant("a_dead_guard_is_noticed_by_facts", "  if lock; then mend; unlock; fi\n", ""),
    Mutant(
        "units_that_are_there_are_not_written_again",
        '  [ -e "$UNITS/fleetd-revert-$1.service" ] || write_units "$1"\n',
        '  write_units "$1"\n',
    ),
    Mutant(
        "a_full_disk_does_not_stop_the_way_back",
        "  # Written or not (the disk may be full): going back is what counts.\n",
        '  state_of "$1"; [ "$REPLY" = reverting ] || return 0\n',
    ),
    Mutant(
        "a_reboot_as_last_resort_needs_permission",
        '[ "${M[last_resort]}" = reboot ] && [ "${M[unattended_boot]}" = yes ] || return 0',
        ":",
    ),
    Mutant(
        "a_reboot_as_last_resort_needs_the_old_boot_default",
        '  [ "$BOOT_DEFAULT" = "${M[old]}" ] || return 0\n  put',
        "  put",
    ),
    Mutant("the_last_resort_is_used_once", '[ ! -e "$S/$1/rebooted" ] || return 0', ":"),
    Mutant("a_unit_that_the_switch_passed_over_is_told", '[ -n "$NEW_FAILED$BEHIND" ]', '[ -n "$NEW_FAILED" ]'),
    Mutant("what_nixos_leaves_alone_is_not_behind", '&& flag "$REPLY" X-RestartIfChanged yes', ""),
    Mutant("what_is_only_told_differently_is_not_behind", '*" ${line%%=*} "*) ;;', "nothing) ;;"),
    Mutant("no_unit_keeps_what_the_new_system_started", '<<<"$STARTED"', "</dev/null"),
    Mutant("no_unit_of_the_new_system_alone_is_left", '    flag "$from" X-StopOnRemoval yes\n', "    false\n"),
    Mutant(
        "a_unit_that_runs_since_before_the_trial_is_as_it_was",
        '[ "${ACTIVE_NOW[$unit]}" = "${before[$unit]:-}" ] || STARTED',
        "STARTED",
    ),
    Mutant("a_later_revert_remembers_what_the_first_found", '  if [ -e "$RUN/$1.started" ]; then', "  if false; then"),
    Mutant("what_the_first_revert_could_not_note_is_looked_for_later", '|| [ "$tried" -gt 0 ]; then', "; then"),
    Mutant(
        "a_file_system_is_mounted_anew_and_never_taken_away",
        '[ -z "$unit" ] || nudge restart "$unit"; done',
        '[ -z "$unit" ] || nudge stop "$unit"; done',
    ),
    Mutant("of_what_runs_already_nothing_is_behind", '[ "${M[runs]:-}" != "${M[new]}" ] || return 0', ":"),
    Mutant(
        "what_ran_before_its_trial_is_not_left_by_the_way_back",
        'if [ "${M[runs]:-}" != "${M[new]}" ] && [ "${M[runs]:-${M[old]}}" = "${M[back]:-${M[old]}}" ]; then',
        "if true; then",
    ),
    Mutant("against_an_empty_baseline_nothing_is_tried", "look_at_units || fail no-guard", "look_at_units || true"),
    Mutant("a_link_that_is_gone_is_nobody_else_s_switch", '[ -n "$REPLY" ] || where=none', "true"),
    Mutant("a_silent_systemd_is_not_well", "look_at_units || { DOWN=init.scope; return; }", "look_at_units || return"),
    Mutant(
        "a_service_that_waits_for_its_socket_is_not_down",
        '    waits_to_be_started "$unit" || DOWN=',
        "    DOWN=",
    ),
    Mutant("a_timer_that_the_switch_passed_over_is_told", "KINDS=service,socket,timer,path", "KINDS=service"),
    Mutant("a_changed_path_is_left_alone", "  case $1 in *.path | *.socket) return 1 ;; esac", "  :"),
    Mutant(
        "a_changed_socket_of_an_idle_service_is_left_alone",
        '[ -n "${ran[${unit%.socket}.service]:-}" ] && is_stopped',
        "is_stopped",
    ),
    Mutant(
        "a_socket_that_was_to_be_opened_anew_and_was_not_is_told",
        '    if is_changed_socket "$unit" "$1" "$2"; then',
        "    if false; then",
    ),
    Mutant(
        "no_socket_listens_for_the_new_system",
        '"${M[back]:-${M[old]}}" back <<<"$STARTED"',
        '"${M[back]:-${M[old]}}" <<<"$STARTED"',
    ),
    Mutant(
        "a_service_does_not_keep_its_socket_from_being_opened_anew",
        '    case $unit in *.socket) nudge stop "${unit%.socket}.service" ;; esac\n',
        "",
    ),
    Mutant("a_timer_that_is_gone_is_down", "KINDS=service,socket,timer,path", "KINDS=service"),
    Mutant(
        "a_timer_that_goes_when_it_is_done_is_not_down",
        '      ! elapses_for_good "$system" "$unit" || continue 2\n',
        "",
    ),
    Mutant("what_a_timer_started_in_the_trial_goes_on", 'if was_triggered "$unit" &&', "if false &&"),
    Mutant(
        "what_a_timer_of_the_new_system_started_is_ended",
        'was_triggered "$unit" && ! must_end "$unit" "${M[new]}" "${M[old]}"',
        'was_triggered "$unit"',
    ),
    Mutant(
        "a_wall_clock_that_is_set_moves_no_wait",
        'over() { uptime_s; [ "$REPLY" -ge "$1" ]; }',
        'over() { [ "$SECONDS" -ge 400000 ]; }',
    ),
    Mutant(
        "a_service_whose_socket_is_gone_is_down",
        '    [ "$REPLY" != active ] || return 0\n  done\n',
        "    return 0\n  done\n",
    ),
    Mutant(
        "a_host_is_rebooted_only_where_the_policy_says_so",
        """the policy says reboot = \\"never\\"" ;;""",
        'x"; reboot_reasons "$OLD" "$1"; [ -z "$REPLY" ] || HOW=reboot ;;',
    ),
    Mutant("what_needs_no_reboot_is_switched_to_live", '[ -z "$never$REPLY" ] || HOW=reboot', "HOW=reboot"),
    Mutant("what_needs_a_reboot_gets_one", '[ -z "$never$REPLY" ] || HOW=reboot', '[ -z "$never" ] || HOW=reboot'),
    Mutant(
        "another_systemd_is_never_switched_to_live",
        '|| found="$found${found:+; }systemd $before -> $REPLY"',
        "|| true",
    ),
    Mutant(
        "another_message_bus_is_never_switched_to_live",
        '|| found="$found${found:+; }the message bus',
        '|| true "',
    ),
    Mutant(
        "without_a_choice_for_one_boot_nothing_is_tried",
        """*) REPLY="its boot loader ($BOOT_KIND) knows no choice for one boot" ;;""",
        "*) REPLY= ;;",
    ),
    Mutant(
        "where_the_newest_entry_is_the_default_nothing_is_tried",
        """elif [ -z "$BOOT_NAMED" ]; then""",
        "elif false; then",
    ),
    Mutant(
        "a_host_that_needs_a_person_to_boot_is_not_rebooted",
        '[ "${O[unattended_boot]:-yes}" = yes ] || refuse',
        "true || refuse",
    ),
    Mutant(
        "a_system_without_a_guard_of_its_own_is_not_booted",
        'fleetd-boot.service" ] && [ "${O[reboot_risk]:-refuse}" != accept ]; then',
        'fleetd-boot.service" ] && false; then',
    ),
    Mutant(
        "the_new_system_is_booted_once_and_the_old_one_stays_the_default",
        """    "$R${M[old]}/bin/switch-to-configuration" boot || { WHY='the boot loader""",
        """    "$R${M[new]}/bin/switch-to-configuration" boot || { WHY='the boot loader""",
    ),
    Mutant(
        "a_loader_that_garbles_its_file_is_not_rebooted_into",
        '[ "$BOOT_DEFAULT" = "${M[old]}" ] || { WHY="the boot default is $BOOT_DEFAULT, not',
        'true || { WHY="the boot default is $BOOT_DEFAULT, not',
    ),
    Mutant(
        "a_system_that_the_loader_does_not_list_is_not_rebooted_into",
        """[ -n "$entry" ] || { WHY='the boot loader does not list the new system'; return 1; }""",
        '[ -n "$entry" ] || return 0',
    ),
    Mutant(
        "a_choice_that_did_not_take_is_not_rebooted_with",
        '[ "$REPLY" = "$entry" ] || { WHY=',
        "true || { WHY=",
    ),
    Mutant(
        "a_reboot_is_on_disk_before_it_is_asked_for",
        'list_new && going_down "$id" && get "$S/$id/down.deadline" && put "$S/$id/deadline" "$REPLY" &&\n'
        "    swap \"$id\" rebooting '' '' switching && choose_new",
        "list_new && choose_new",
    ),
    Mutant("a_shutdown_that_hangs_is_helped_along", '|| help_down "$id" "$now"', "|| true"),
    Mutant(
        "a_reboot_that_does_not_begin_is_taken_back",
        "  choose_nothing || { WHY='the choice for one boot could not be taken back'; return 1; }\n",
        "",
    ),
    Mutant(
        "a_choice_that_cannot_be_read_is_taken_back_all_the_same",
        """  [ -n "$REPLY" ] || REPLY='an entry that cannot be read'\n""",
        "",
    ),
    Mutant(
        "a_trial_by_reboot_is_committed",
        """$(cat "$file" 2>/dev/null | tail -c +5 | tr""",
        """$(tail -c +5 "$file" 2>/dev/null | tr""",
    ),
    Mutant(
        "after_the_reboot_a_guard_is_armed",
        'put "$S/$id/deadline" $((M[armed] + M[switch_timeout_s] + 30 + M[contact_timeout_s])) &&\n'
        '    put "$S/$id/meta"',
        'put "$S/$id/meta"',
    ),
    Mutant("a_trial_by_reboot_is_committed", '    resume "$id"\n  elif foreign', "    :\n  elif foreign"),
    Mutant(
        "what_nobody_confirms_goes_back_by_a_reboot",
        '  if [ "${M[how]:-live}" = reboot ] && [ "${M[old]}" != "${M[new]}" ]; then\n    go_back_by_reboot',
        "  if false; then\n    go_back_by_reboot",
    ),
    Mutant(
        "a_boot_that_fell_back_is_a_trial_that_failed",
        '  if [ "$2" = "${M[new]}" ] && [ "$booted" = "${M[new]}" ]; then\n    resume',
        "  if true; then\n    resume",
    ),
    Mutant(
        "a_third_system_that_was_booted_is_left_alone",
        '  elif foreign "$2" || foreign "$booted"; then',
        "  elif false; then",
    ),
    Mutant(
        "a_trial_whose_guard_cannot_be_started_goes_back",
        '    ctl_retry start "fleetd-guard-$id.service" && unit_active "fleetd-guard-$id.service" &&\n    ctl_retry',
        "    ctl_retry",
    ),
    Mutant(
        "a_boot_that_is_not_over_is_not_judged_well",
        "    running | degraded | maintenance) found=",
        "    running | degraded | maintenance | starting) found=",
    ),
    Mutant(
        "a_service_of_the_boot_that_is_missing_counts",
        '    [ -z "$again" ] || is_started_by_boot "$unit" "${@: -1}" || continue\n',
        '    [ -z "$again" ] || continue\n',
    ),
    Mutant(
        "a_service_that_the_boot_does_not_start_is_not_missed",
        '    [ -z "$again" ] || is_started_by_boot "$unit" "${@: -1}" || continue\n',
        "",
    ),
    Mutant(
        "a_reboot_into_what_runs_chooses_nothing",
        '  [ "$OLD" != "$1" ] || return 0\n  one_shot',
        "  one_shot",
    ),
    Mutant("a_dry_activation_changes_nothing", "dry-activate 2>&1 </dev/null)", "test 2>&1 </dev/null)"),
    Mutant("a_dry_activation_is_refused_while_a_trial_runs", 'still "$REPLY" || refuse busy ', "true || refuse busy "),
    Mutant("a_switch_by_others_is_no_answer_to_a_dry_activation", "[ $code != 11 ] || refuse", "true || refuse"),
    Mutant("what_is_staged_boots_next_and_nothing_is_switched", "    if make_default; then", "    if false; then"),
    Mutant("a_stage_whose_loader_lies_is_put_back", 'boots "${M[new]}" || { WHY', "true || { WHY"),
    Mutant("what_the_installer_said_is_told_with_what_was_not_staged", '    add_last_words "fleetd-stage-$id"\n', ""),
    Mutant("a_stage_that_was_killed_is_put_back", "  if [ $attempts = 1 ]; then", "  if true; then"),
    Mutant(
        "power_lost_while_staging_ends_whole",
        'if [ "$2" = "${M[new]}" ] && [ "$BOOT_DEFAULT" = "${M[new]}" ]; then',
        'if [ "$2" = "${M[new]}" ]; then',
    ),
    Mutant(
        "a_host_that_booted_what_was_being_staged_is_staged",
        'if [ "$2" = "${M[new]}" ] && [ "$BOOT_DEFAULT" = "${M[new]}" ]; then',
        "if false; then",
    ),
    Mutant(
        "what_runs_is_not_tried_over_what_is_staged",
        '"${O[toplevel]}" ] && ! is_staged; then',
        '"${O[toplevel]}" ]; then',
    ),
    Mutant("nothing_is_switched_over_what_is_staged", "    refuse unsettled ", "    true "),
    Mutant("what_is_staged_ends_the_way_back_from_a_kept_test", '  rm -f "$S/kept"\n', ""),
    Mutant("for_a_boot_no_live_switch_has_to_be_possible", '[ "${O[verb]}" = stage ] || choose_way', "choose_way"),
    Mutant(
        "a_profile_that_does_not_boot_is_not_staged_over",
        '|| [ "$BOOT_DEFAULT" = "$profile" ] || refuse unsettled "its',
        '|| true || refuse unsettled "its',
    ),
    Mutant(
        "a_released_trial_goes_on_running_and_would_boot_the_old_system",
        "  committed | reverted | released | interfered | stranded) exit 0 ;;\n  committing)",
        "  committed | reverted | interfered | stranded) exit 0 ;;\n  committing)",
    ),
    Mutant("a_release_without_a_guard_is_refused", 'guarded_in_time "${O[id]}" || refuse', "true || refuse"),
    Mutant(
        "what_does_not_run_is_not_released",
        '  [ "$REPLY" = "${M[new]}" ] || refuse bad-state',
        "  true || refuse bad-state",
    ),
    Mutant("a_kept_test_gives_way_to_the_next_trial", "elif is_kept && {", "elif false && {"),
    Mutant(
        "a_kept_test_that_somebody_replaced_is_unsettled",
        '[ -n "$runs" ] && [ "$REPLY" = "$runs" ]; }',
        '[ -n "$REPLY" ]; }',
    ),
    Mutant(
        "a_trial_that_did_not_begin_leaves_a_kept_test_as_it_was",
        '  { [ "$REPLY" = "${M[old]}" ] || [ "$REPLY" = "${M[runs]:-}" ]; } && where=old',
        '  [ "$REPLY" = "${M[old]}" ] && where=old',
    ),
    Mutant("a_kept_test_is_nobody_else_s_switch", ' && [ "$1" != "${M[runs]:-}" ]; }', "; }"),
    Mutant(
        "what_goes_back_past_a_kept_test_is_compared_with_both",
        '  crossing "$OLD" "$1"',
        '  crossing "$RUNS" "$1"',
    ),
    Mutant(
        "no_unit_keeps_what_a_kept_test_started",
        ' && [ "${M[runs]:-${M[old]}}" = "${M[back]:-${M[old]}}" ]; then',
        "; then",
    ),
    Mutant("a_specialisation_is_the_system_that_it_belongs_to", "SPECIALISATION=${special##*/} REPLY=$base;", ":;"),
    Mutant(
        "the_way_back_leads_to_the_specialisation_that_ran",
        '"$R${M[back]:-${M[old]}}/bin/switch-to-configuration" test',
        '"$R${M[old]}/bin/switch-to-configuration" test',
    ),
    Mutant(
        "a_specialisation_of_another_system_is_another_system",
        'for special in "$R$base/specialisation"/*; do',
        'for special in "$R/nix/store"/*/specialisation/*; do',
    ),
)


@pytest.fixture
def room() -> Iterator[Path]:
    """A directory for one host."""
    made = place()
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("name", LAWS)
def test_the_law_holds(name: str, room: Path) -> None:
    LAWS[name](Rig(room / "host", *laws.SYSTEMS))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.law)
def test_without_its_protection_the_law_is_broken(mutant: Mutant, room: Path) -> None:
    text = HELPER.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.old!r} occurs {text.count(mutant.old)} times in the helper"
    with pytest.raises(AssertionError):
        LAWS[mutant.law](Rig(room / "host", *laws.SYSTEMS, helper=text.replace(mutant.old, mutant.new)))


def test_every_law_has_a_mutant() -> None:
    assert {mutant.law for mutant in MUTANTS} == set(LAWS)


@contextmanager
def listener(backlog: int) -> Iterator[socket.socket]:
    """Listen on loopback."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(backlog)
        server.settimeout(STEP_TIMEOUT_S)
        yield server


def reverting_to(room: Path, server: socket.socket) -> Rig:
    """Return a host that is to go back, and that the controller reached at this address."""
    rig = Rig(room / "host", *laws.SYSTEMS)
    came_in = f"127.0.0.1 40000 127.0.0.1 {server.getsockname()[1]}"
    rig.ask("trial", encode_order(laws.order(rig, Verb.TRIAL, 10)), {"SSH_CONNECTION": came_in})
    rig.run_switch()
    rig.order(laws.order(rig, Verb.REVERT, 11))
    return rig


def test_a_journal_that_hangs_does_not_keep_a_status_from_being_told(room: Path) -> None:
    rig = Rig(room / "host", *laws.SYSTEMS)
    rig.order(laws.order(rig, Verb.TRIAL, 10))
    rig.set("switch", "broken")
    rig.run_switch()
    rig.set("journal-hangs", "yes")
    assert rig.ask("status").fields["failed"] == "bad.service"  # within STEP_TIMEOUT_S


def test_an_address_that_takes_no_connection_is_not_waited_for(room: Path) -> None:
    with listener(0) as server, ExitStack() as stack:
        for _ in range(3):  # a queue that is full answers nobody, as an address that is gone
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        rig = reverting_to(room, server)
        rig.run_revert()  # within STEP_TIMEOUT_S
        assert (rig.shown().state, rig.shown().current) == ("reverting", laws.OLD)


@pytest.mark.parametrize(("said", "state"), [(b"SSH-2.0-test\r\n", "reverted"), (b"220 mail\r\n", "reverting")])
def test_what_answers_where_the_controller_came_in_must_be_sshd(room: Path, said: bytes, state: str) -> None:
    with listener(5) as server:
        rig = reverting_to(room, server)

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.sendall(said)

        thread = Thread(target=answer)
        thread.start()
        rig.run_revert()
        thread.join()
        assert rig.shown().state == state
