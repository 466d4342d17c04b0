//! Pulling, unpacking and keeping images, against a real registry, a hostile one, and a killed process.
//!
//! Which threat is shown harmless where:
//!
//! | threat | tests |
//! |---|---|
//! | I1 paths that climb or go through links | `tar_corpus::hostile_tars_change_nothing_outside`, `folder::layouts_that_are_broken_or_lead_away_are_refused`, `archive::archives_that_are_broken_or_lead_away_are_refused` |
//! | I2 modes and owners through links | `tar_corpus::a_mode_does_not_follow_a_link` |
//! | I3 two sizes for one member | `tar_corpus` (garbled headers), `tar_limits` (random changes; names and sizes compared with GNU tar) |
//! | I4 layers unpacked side by side | `race::folders_that_turn_into_links_while_layers_are_unpacked`, `crash::a_killed_pull_leaves_a_whole_store`, `keep::two_processes_may_pull_and_remove_at_once` |
//! | I5 whiteouts | `tar_layers::whiteouts_hide_lower_layers_only`, `tar_limits::whiteouts_take_linear_time`, `snapshots::overlay_and_copy_agree` |
//! | I6 bombs | `hostile::bombs_end_in_bounded_space`, `bounds::bombs_take_little_memory`, `tar_limits::depth_and_counts_are_bounded`, `tar_limits::sparse_maps_are_checked` |
//! | I7 content that is not what its digest says | `hostile::blobs_that_are_not_what_the_manifest_says`, `hostile::documents_that_are_not_what_they_are_called`, `resume::what_is_kept_is_never_believed`, `mirrors::mirrors_that_fail_or_lie_are_passed_over` |
//! | I8 documents of two types | `type_confusion` |
//! | I9 indexes and manifests without end | `hostile::indexes_and_manifests_without_end`, `snapshots::more_layers_than_an_image_may_have_are_refused_by_number` |
//! | I10 logins that leak | `login::no_credential_leaves_the_registry`, `mirrors::each_server_gets_its_own_login_only`, `secrets::credential_helpers_are_run_for_the_operator_only`, `hostile::foreign_urls_are_never_asked` |
//! | I11 a cached image for the wrong task | `secrets::a_private_image_in_the_store_is_for_those_who_may_have_it`, `basics::a_second_pull_needs_no_network_and_force_looks_again` |
//! | I12 stalls and resumed pulls | `slow`, `resume`, `hiccup` |
//! | I15 collection under a launch | `collect::collection_takes_nothing_from_a_launch`, `keep::layers_in_use_stay_whoever_asks` |
//! | I16 device nodes and privileged attributes | `tar_layers::device_nodes_are_left_out`, unit test `only_harmless_attributes_are_kept` |

// All of this binary is test code, where a failed unwrap is a failed test; clippy only exempts functions marked as one.
#![allow(clippy::unwrap_used)]

mod kit;

mod archive;
mod basics;
mod bounds;
mod collect;
mod crash;
mod disk_full;
mod folder;
mod hiccup;
mod hostile;
mod keep;
mod login;
mod mirrors;
mod race;
mod resume;
mod secrets;
mod slow;
mod snapshots;
mod tar_corpus;
mod tar_layers;
mod tar_limits;
mod tls;
mod type_confusion;
mod verify;
