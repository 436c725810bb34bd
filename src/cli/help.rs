//! Generates the text of `--help` and `--version` from the table of options.

use crate::cli::option_table::{FLAGS, Flag, Group, PROBE_FLAGS, STATUS_FLAGS, TABLE};

/// Returns the text of `--help`.
pub fn help() -> String {
    let mut text = String::from(
        "ftpfs mounts a remote FTP server as a local directory.

Usage: ftpfs SOURCE MOUNTPOINT [-o OPT[,OPT...]] [-f] [-d]
       ftpfs probe SOURCE [-o OPT[,OPT...]] [--write] [--json] [-d]
       ftpfs umount [-f] [-l] MOUNTPOINT
       ftpfs status [MOUNTPOINT] [--json]
       ftpfs drop-cache [MOUNTPOINT]
       ftpfs completions bash (or zsh, fish)

Sources:
  ftp://[user[:password]@]host[:port][/path]  path below the login directory;
                                              absolute if it begins with %2F
  ftpes://..., ftps://...                     the same, encrypted: by AUTH TLS, or on port 990
  [user@]host:path                            path below the login directory
  [user@]host:/path                           absolute path

Flags:
",
    );
    for flag in FLAGS {
        row(&mut text, &flag_synopsis(flag), flag.help);
    }
    text.push_str("\nFlags of ftpfs probe, which probes a server and recommends options:\n");
    for flag in PROBE_FLAGS {
        let common = FLAGS.iter().any(|other| other.long == flag.long);
        if !common {
            row(&mut text, &flag_synopsis(flag), flag.help);
        }
    }
    text.push_str("\nFlags of ftpfs status, which shows the status of a mount, or of all yours:\n");
    for flag in STATUS_FLAGS {
        let common = FLAGS.iter().any(|other| other.long == flag.long);
        if !common {
            row(&mut text, &flag_synopsis(flag), flag.help);
        }
    }
    for group in Group::ALL {
        text.push_str(&format!("\n{}:\n", group.heading()));
        let specs = TABLE.iter().filter(|spec| spec.group == group);
        if group == Group::Ignored {
            let names: Vec<&str> = specs.map(|spec| spec.name).collect();
            for line in names.chunks(9) {
                text.push_str(&format!("  {}\n", line.join(" ")));
            }
            continue;
        }
        for spec in specs {
            let left = match spec.value {
                Some(value) => format!("{}={value}", spec.name),
                None => spec.name.to_string(),
            };
            let right = match spec.default {
                "" => spec.help.to_string(),
                default => format!("{} (default: {default})", spec.help),
            };
            row(&mut text, &left, &right);
        }
    }
    text.push_str("\nTo unmount: fusermount3 -u MOUNTPOINT. See also: man ftpfs.\n");
    text
}

/// Returns the text of `--version`.
pub fn version() -> String {
    format!("ftpfs {}\n", env!("CARGO_PKG_VERSION"))
}

fn flag_synopsis(flag: &Flag) -> String {
    let value = flag.value.map(|value| format!(" {value}"));
    format!(
        "-{}, --{}{}",
        flag.short,
        flag.long,
        value.unwrap_or_default()
    )
}

/// Width of the left column.
const LEFT_WIDTH: usize = 27;

fn row(text: &mut String, left: &str, right: &str) {
    text.push_str(&format!("  {left:LEFT_WIDTH$} {right}\n"));
}
