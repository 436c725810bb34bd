//! What is asked of a mount, as mount(2) wants to hear it and as `fusermount3` does.

use nix::mount::MsFlags;

/// How the mount shows itself and what the kernel is to do for it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The source in the mount table.
    pub fsname: String,
    /// The type in the mount table, behind `fuse.`.
    pub subtype: String,
    /// Nothing may be changed.
    pub read_only: bool,
    /// Other users may use the mount.
    pub allow_other: bool,
    /// The kernel checks permission bits.
    pub default_permissions: bool,
    /// `noexec`, `noatime` and so on, in the words of fstab(5); the last one counts. `nosuid` and
    /// `nodev` always hold.
    pub words: Vec<&'static str>,
}

/// The flags of mount(2). A server's word makes no program run as root, whatever the words say:
/// mount.fuse3(8) and mount(8) add `suid` and `dev` unasked.
pub fn flags(options: &Options) -> MsFlags {
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    for word in &options.words {
        let (flag, on) = match *word {
            "noexec" => (MsFlags::MS_NOEXEC, true),
            "exec" => (MsFlags::MS_NOEXEC, false),
            "noatime" => (MsFlags::MS_NOATIME, true),
            "atime" => (MsFlags::MS_NOATIME, false),
            "relatime" => (MsFlags::MS_RELATIME, true),
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

/// The list that `fusermount3 -o` is given. It splits at commas, so that a name from outside could
/// bring options along; a backslash keeps it from that.
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
    for word in &options.words {
        // Those two are there, and the last it does not know: the kernel does so by itself.
        if !matches!(*word, "nosuid" | "nodev" | "relatime") {
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
    fn a_name_brings_no_options_along() {
        assert_eq!(
            list(&options(&[])),
            r"fsname=ftp://u@h/a\,ro\\,subtype=ftpfs,nosuid,nodev"
        );
    }

    #[test]
    fn of_two_words_the_last_one_counts() {
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
    fn fusermount_is_not_told_what_it_refuses() {
        let list = list(&options(&["nosuid", "nodev", "relatime", "noatime"]));
        assert!(list.ends_with(",nosuid,nodev,noatime"), "{list}");
    }
}
