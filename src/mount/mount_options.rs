//! Formats the options of a mount for mount(2) and for `fusermount3`.

use nix::mount::MsFlags;

/// The entry in the mount table, and what the kernel enforces.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The source in the mount table.
    pub fsname: String,
    /// The type in the mount table, after `fuse.`.
    pub subtype: String,
    /// A read-only mount.
    pub read_only: bool,
    /// Other users may use the mount.
    pub allow_other: bool,
    /// The kernel checks permission bits.
    pub default_permissions: bool,
    /// `noexec`, `noatime` and so on, in the words of fstab(5); the last one counts. `nosuid` and
    /// `nodev` always hold.
    pub words: Vec<&'static str>,
    /// `context=LABEL` and its kin, which SELinux takes.
    pub labels: Vec<(&'static str, String)>,
    /// `_netdev`, `user=NAME` and `x-*`: what mount(8) and systemd keep outside of the kernel.
    pub user_space: Vec<String>,
}

/// MS_NOSYMFOLLOW of Linux 5.10, which libc does not define.
const NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);

/// Returns the flags of mount(2). `nosuid` and `nodev` are always set, so that no set-user-ID bit of
/// the server has an effect: mount.fuse3(8) and mount(8) add `suid` and `dev` by themselves.
pub fn flags(options: &Options) -> MsFlags {
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    for word in &options.words {
        let (flag, on) = match *word {
            "noexec" => (MsFlags::MS_NOEXEC, true),
            "exec" => (MsFlags::MS_NOEXEC, false),
            "noatime" => (MsFlags::MS_NOATIME, true),
            "atime" => (MsFlags::MS_NOATIME, false),
            "relatime" => (MsFlags::MS_RELATIME, true),
            "strictatime" => (MsFlags::MS_STRICTATIME, true),
            "nodiratime" => (MsFlags::MS_NODIRATIME, true),
            "lazytime" => (MsFlags::MS_LAZYTIME, true),
            "nosymfollow" => (NOSYMFOLLOW, true),
            "sync" => (MsFlags::MS_SYNCHRONOUS, true),
            "async" => (MsFlags::MS_SYNCHRONOUS, false),
            "dirsync" => (MsFlags::MS_DIRSYNC, true),
            _ => continue,
        };
        flags.set(flag, on);
    }
    flags.set(MsFlags::MS_RDONLY, options.read_only);
    flags
}

/// Returns the data of mount(2) for the labels of SELinux: each after a comma, quoted, since its range may have commas.
/// A kernel without SELinux would refuse the mount.
pub fn labels(options: &Options, has_selinux: bool) -> String {
    if !has_selinux && !options.labels.is_empty() {
        log::warn!(
            "{}: ignored, since SELinux is not enabled here",
            names(options)
        );
        return String::new();
    }
    let labels = options.labels.iter();
    labels
        .map(|(name, label)| format!(",{name}=\"{label}\""))
        .collect()
}

fn names(options: &Options) -> String {
    let names = options.labels.iter().map(|(name, _)| format!("{name}="));
    names.collect::<Vec<_>>().join(", ")
}

/// Returns the list for `fusermount3 -o`, which splits it at commas. Commas in names are escaped with
/// a backslash, so that a name can't add options.
pub fn list(options: &Options) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace(',', "\\,");
    let mut list = format!(
        "fsname={},subtype={}",
        escape(&options.fsname),
        escape(&options.subtype)
    );
    for (wanted, word) in [
        (true, ",nosuid,nodev"),
        (options.read_only, ",ro"),
        (options.allow_other, ",allow_other"),
        (options.default_permissions, ",default_permissions"),
    ] {
        if wanted {
            list.push_str(word);
        }
    }
    if !options.labels.is_empty() {
        log::warn!(
            "{}: ignored, since only root can mount with a label of SELinux",
            names(options)
        );
    }
    for word in &options.words {
        // The first two are in the list; the others are unknown to fusermount3 of Debian 12. `relatime` is the default.
        let is_known = !matches!(
            *word,
            "nosuid"
                | "nodev"
                | "relatime"
                | "strictatime"
                | "nodiratime"
                | "lazytime"
                | "nosymfollow"
        );
        if *word == "nosymfollow" {
            log::warn!("nosymfollow: only root can mount with it; symbolic links are followed");
        }
        if is_known {
            list.push(',');
            list.push_str(word);
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&'static str]) -> Options {
        Options {
            fsname: "ftp://u@h/a,ro\\".into(),
            subtype: "ftpfs".into(),
            words: words.to_vec(),
            ..Options::default()
        }
    }

    #[test]
    fn name_adds_no_options() {
        assert_eq!(
            list(&options(&[])),
            r"fsname=ftp://u@h/a\,ro\\,subtype=ftpfs,nosuid,nodev"
        );
    }

    #[test]
    fn last_of_two_options_applies() {
        let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        assert_eq!(flags(&options(&[])), safe);
        assert_eq!(flags(&options(&["noexec", "exec"])), safe);
        assert_eq!(
            flags(&options(&["exec", "noexec"])),
            safe | MsFlags::MS_NOEXEC
        );
        assert_eq!(flags(&options(&["suid", "dev"])), safe);
        let read_only = Options {
            read_only: true,
            ..options(&[])
        };
        assert_eq!(flags(&read_only), safe | MsFlags::MS_RDONLY);
    }

    #[test]
    fn labels_are_for_kernels_with_selinux() {
        let label = "system_u:object_r:nfs_t:s0:c1,c2".to_string();
        let options = Options {
            labels: vec![("context", label)],
            ..options(&[])
        };
        assert_eq!(
            labels(&options, true),
            ",context=\"system_u:object_r:nfs_t:s0:c1,c2\""
        );
        assert_eq!(labels(&options, false), "");
        assert!(!list(&options).contains("context"));
    }

    #[test]
    fn fusermount_gets_no_option_it_refuses() {
        let list = list(&options(&["nosuid", "nodev", "relatime", "noatime"]));
        assert!(list.ends_with(",nosuid,nodev,noatime"), "{list}");
    }
}
