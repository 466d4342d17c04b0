//! Containers for real: the probe's keeper, busybox, the kernel. Needs root; says so and passes when
//! there is none.
//!
//! The threats to a container's host, and the tests (here and beside the code) that stand for each. K19, restoring a
//! container from somebody's checkpoint, does not exist here. A test checks this table.
//!
//! | threat | what | tests |
//! |---|---|---|
//! | K1 | the image's /dev, /proc or /sys is a link to the host | `k01_mount_points_that_are_links_never_reach_the_host`, `k01_links_are_refused_in_a_user_namespace_as_well` |
//! | K2 | our programs are overwritten through /proc/self/exe | `k02_our_programs_can_not_be_overwritten_from_inside` |
//! | K3 | leaked descriptors, and the working directory through them | `k03_descriptors_of_the_caller_and_keeper_stay_out` |
//! | K4 | a process that is being contained is entered before it is | `k04_a_hostile_neighbour_finds_no_process_to_enter` |
//! | K5 | a mount's target is exchanged for a link | `k05_the_sandbox_is_mounted_inside_whatever_the_image_links`, `k05_a_mount_point_that_is_exchanged_meanwhile_leads_nowhere`, `k05_a_neighbour_that_exchanges_what_is_mounted_on_leads_nowhere`, `k05_a_sandbox_that_two_containers_share_leads_nowhere` |
//! | K6 | the mask's source /dev/null is replaced | `k06_a_false_dev_null_masks_nothing_away`, `k06_a_neighbour_that_replaces_dev_null_unmasks_nothing` |
//! | K7 | masked and read-only paths | `k07_masked_and_read_only_paths` |
//! | K8 | /dev/console | `k08_no_console_and_no_terminal_of_the_host` |
//! | K9 | writes to /proc are led elsewhere | `k09_what_is_written_to_proc_is_written_to_proc` |
//! | K10 | files and folders are made on the host | `k10_name_resolution_files_that_are_links_stay_inside`, `k10_nothing_is_made_on_the_host_for_an_image` |
//! | K11 | capabilities that are inherited | `k11_privileges_are_bounded_for_root_and_others` |
//! | K12 | cgroups are written from inside | `k12_cgroups_can_not_be_changed_from_inside` |
//! | K13 | settings of the kernel are slipped in | `k13_no_setting_of_the_kernel_can_be_changed` |
//! | K14 | the filter of system calls is passed by | `k14_denied_calls_are_denied_natively`, `k14_the_32_bit_door_has_the_same_lock`, `k14_the_x32_door_is_shut`, `k14_only_usual_socket_families_can_be_opened`, `k14_namespaces_cannot_be_made` |
//! | K15 | metadata of the image are believed | `k15_a_plan_knows_no_labels_annotations_or_hooks` |
//! | K16 | users and groups | `k16_malformed_users_are_refused`, `k16_hostile_databases_end_at_once`, `k16_users_of_a_hostile_image_end_within_a_second` |
//! | K17 | names that are paths | `k17_ids_that_could_leave_the_folder_are_refused` |
//! | K18 | devices | `k18_devices_are_denied_but_for_the_usual_ones`, `k18_devices_stay_denied_after_deaths_and_in_nested_cgroups` |
//! | K20 | the keeper's socket is reached from a container | `k20_the_socket_is_for_root_outside_of_containers_only`, `k20_no_socket_of_the_hosts_network_lets_a_container_in` |
//! | K21 | folders that others can enter | `k21_folders_are_closed_to_others`, `k21_what_a_task_made_set_uid_is_out_of_reach`, `k21_what_root_of_a_user_namespace_made_set_uid_is_out_of_reach`, `k21_a_user_without_an_image_reaches_its_sandbox_and_nothing_beside_it` |
//! | K22 | sessions that leak | `k22_callers_that_come_and_go_cost_a_keeper_nothing` |
//! | K23 | logs are exchanged | `k23_output_files_that_the_sandbox_holds_as_links_are_not_followed`, `k23_a_log_that_a_task_exchanges_is_written_where_it_was` |
//! | K24 | programs of the image run on the host | `k24_nothing_of_an_image_runs_on_the_host` |
//! | K25 | one container takes all (not inodes and dentries of a disk that several share, which cgroups know no bounds of: project quotas are not there yet) | `k25_a_fork_bomb_ends_at_once`, `k25_neighbours_of_a_bomb_go_on` |
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test says where it failed by its line")]

mod canary;
mod endings;
mod hostile_images;
mod isolation;
mod kills;
mod limits;
mod namespaces;
mod neighbours;
mod recovery;
mod sandboxes;
mod starting;
mod threats;
mod world;
