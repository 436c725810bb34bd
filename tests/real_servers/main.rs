//! The product: ordinary tools in a real mount of each real server. Each test has a mount and a directory of its own, and
//! looks at the bytes on the server's disk, through the mount, and again after a fresh mount.
//!
//! `scripts/servers start`, then `cargo test --test real_servers`, or one of them: `cargo test --test real_servers vsftpd::rsync_twice`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/exceptions.rs"]
mod exceptions;
#[path = "../support/limited.rs"]
mod limited;
#[path = "../support/mounted.rs"]
mod mounted;
#[path = "../support/namespace.rs"]
mod namespace;
#[path = "../support/server.rs"]
mod server;

mod attributes;
mod curlftpfs;
mod data_modes;
mod directories;
mod documents;
mod files;
mod locales;
mod mounting;
mod names;
mod other_clients;
mod probe;
mod proxies;
mod replacing;
mod tls;
mod tools;
mod unmounting;
mod write_cost;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mounted::Mounted;
use server::Server;

/// Makes of a list of checks a test each, on each server, and the names of all for the test of the exceptions.
macro_rules! on_every_server {
    ($($place:ident: $($check:ident)+;)+) => {
        on_every_server!(@server vsftpd "vsftpd" $($($place::$check)+)+);
        on_every_server!(@server proftpd "proftpd" $($($place::$check)+)+);
        on_every_server!(@server pure_ftpd "pure-ftpd" $($($place::$check)+)+);
        on_every_server!(@server pyftpdlib "pyftpdlib" $($($place::$check)+)+);
        const CHECKS: &[&str] = &[$($(stringify!($check)),+),+];
    };
    (@server $module:ident $name:literal $($place:ident::$check:ident)+) => {
        mod $module {
            $(#[test] fn $check() { crate::on($name, stringify!($check), crate::$place::$check) })+
        }
    };
}

on_every_server! {
    tools:
        cp_r mv rm_r tar_x_then_tar_d tar_x_then_tar_d_of_files rsync_twice rsync_twice_without_directory_times
        cp_a rsync_a cp_a_leniently rsync_a_without_directory_times
        git_clone_commit_fsck sqlite_delete sqlite_wal sed_i append truncate dd_notrunc write_temp_then_rename
        fsx sha256_256_mib eight_processes;
    attributes: everyday_tools;
    files:
        read_at_any_offset write_in_any_order open_flags empty_file exclusive_create append_from_two_processes
        mapped_read mapped_write subshell_and_children exec_beside_new_file read_while_stored fsync_means_stored allocate change_mode mode_of_new_files
        run_a_script touch_d unlink_open rename_open refused_write_is_an_error holes;
    directories:
        list ten_thousand_entries rename_over_existing replaced_again_and_again rename_directories rename_no_replace errors room_for_more
        symbolic_links no_links_made;
    names:
        names_inner_blanks names_leading_blanks names_trailing_blanks names_only_blanks names_quotes names_hash_percent names_backslash
        names_brackets names_star_question names_star_directory names_utf8 names_dash_tilde names_like_facts
        names_long names_with_line_ends names_like_reasons names_not_utf8;
    documents:
        examples_of_semantics;
    other_clients:
        cold_read_from_disk cold_read_after_curl curl_reads_ours change_seen_in_time append_to_a_file_of_others;
    mounting:
        background by_umount by_sigterm by_sigint read_only owner_and_umask other_users encoded_path
        wrong_password missing_directory missing_mountpoint mountpoint_is_a_file mounted_twice refused_connection;
}

// rclone's FTP server sets no modes and no times, and stores as a cloud does: nothing is there before its transfer ends, and
// rmdir, rename and STOR do not look at what a local file system would refuse. What rests on none of that:
on_every_server! {@server rclone "rclone"
        tools::rm_r tools::sqlite_delete tools::sqlite_wal tools::sed_i tools::append tools::truncate
        tools::dd_notrunc tools::fsx tools::sha256_256_mib tools::eight_processes
        files::read_at_any_offset files::write_in_any_order files::open_flags files::append_from_two_processes
        files::mapped_read files::mapped_write files::subshell_and_children files::exec_beside_new_file
        files::read_while_stored files::fsync_means_stored files::allocate files::unlink_open files::rename_open files::holes
        directories::rename_over_existing directories::replaced_again_and_again directories::rename_no_replace
        directories::room_for_more directories::no_links_made
        names::names_with_line_ends names::names_like_reasons
        other_clients::cold_read_from_disk other_clients::cold_read_after_curl other_clients::curl_reads_ours other_clients::change_seen_in_time
        other_clients::append_to_a_file_of_others
        mounting::background mounting::by_umount mounting::by_sigterm mounting::by_sigint mounting::read_only
        mounting::encoded_path mounting::wrong_password mounting::missing_directory mounting::missing_mountpoint
        mounting::mountpoint_is_a_file mounting::mounted_twice mounting::refused_connection
}

/// One check on one server. What an exception lets off must fail, and as the exception says.
fn on(server: &'static str, test: &'static str, check: fn(&mut Mounted)) {
    let mut mounted = Mounted::new(Server { name: server }, test);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        mounted.mount("");
        check(&mut mounted);
        mounted.unmount();
    }));
    match (outcome, exceptions::of(server, test)) {
        (Ok(()), None) => {}
        (Ok(()), Some(exception)) => panic!(
            "it works: take its line out of tests/exceptions.txt ({})",
            exception.reason
        ),
        (Err(cause), Some(exception)) if words_of(&*cause).contains(exception.failure) => {}
        (Err(cause), _) => {
            mounted.report();
            resume_unwind(cause);
        }
    }
}

fn words_of(cause: &dyn std::any::Any) -> &str {
    cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or(cause.downcast_ref::<&str>().copied())
        .unwrap_or("")
}

#[test]
fn exceptions_name_tests() {
    for exception in exceptions::all() {
        assert!(
            ["vsftpd", "proftpd", "pure-ftpd", "pyftpdlib", "rclone"].contains(&exception.server),
            "{exception:?}"
        );
        assert!(CHECKS.contains(&exception.test), "{exception:?}");
    }
}
