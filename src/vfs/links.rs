//! Symbolic links stay within the mount.
//!
//! The one idea: a link's target is what the *server* means by it. A relative one is left as it is when
//! it does not climb out; an absolute one below the mounted directory becomes relative; every other one
//! would show the user a file of this machine under the server's name, and is refused, unless an option
//! says otherwise.

use crate::remote::RemotePath;

/// What becomes of links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// Those that leave the mounted directory are refused.
    #[default]
    Contained,
    /// Absolute targets are taken from the mounted directory, as after chroot(2).
    FromRoot,
    /// They are shown as the server says them, wherever that leads on this machine.
    AsTheyAre,
}

impl Links {
    /// The target of the link at `link`, as the kernel is to see it; `None` when it leads out of the
    /// mount. `root` is the mounted directory on the server, absolute, without a `/` at its end.
    pub fn shown(self, root: &[u8], link: &RemotePath, target: &[u8]) -> Option<Vec<u8>> {
        match self {
            _ if target.is_empty() || target.contains(&0) => None,
            Self::AsTheyAre => Some(target.to_vec()),
            Self::FromRoot => contain(b"", link, target),
            Self::Contained => contain(root, link, target),
        }
    }
}

fn contain(root: &[u8], link: &RemotePath, target: &[u8]) -> Option<Vec<u8>> {
    let depth = link.as_bytes().iter().filter(|&&byte| byte == b'/').count();
    if !target.starts_with(b"/") {
        return stays_within(target, depth).then(|| target.to_vec());
    }
    let below = target.strip_prefix(root)?;
    if !below.is_empty() && !below.starts_with(b"/") || !stays_within(below, 0) {
        return None;
    }
    let below = below
        .iter()
        .position(|&byte| byte != b'/')
        .map_or(&b""[..], |at| &below[at..]);
    let mut relative = b"../".repeat(depth);
    relative.extend_from_slice(if below.is_empty() && depth == 0 {
        b"."
    } else {
        below
    });
    Some(relative)
}

/// Whether a path, begun `depth` directories below the root, never climbs above it. A `..` behind a name is
/// refused too: that name may be another link, and then `..` does not lead back.
fn stays_within(path: &[u8], depth: usize) -> bool {
    let names = path
        .split(|&byte| byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."));
    let climbs = names.clone().take_while(|name| *name == b"..").count();
    climbs <= depth && !names.skip(climbs).any(|name| name == b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_within_the_mount_are_kept_and_others_refused() {
        let top = RemotePath::root().join(b"link").expect("a name");
        let deep = RemotePath::root()
            .join(b"d")
            .and_then(|path| path.join(b"link"))
            .expect("names");
        type Case<'a> = (&'a [u8], &'a RemotePath, &'a [u8], Option<&'a [u8]>);
        let cases: [Case<'_>; 12] = [
            (b"/home/u", &top, b"a/b", Some(b"a/b")),
            (b"/home/u", &top, b"../etc/passwd", None),
            (b"/home/u", &deep, b"../a", Some(b"../a")),
            (b"/home/u", &deep, b"../../a", None),
            (b"/home/u", &deep, b"x/../a", None),
            (b"/home/u", &top, b"/home/u/a", Some(b"a")),
            (b"/home/u", &deep, b"/home/u/a", Some(b"../a")),
            (b"/home/u", &top, b"/home/user/a", None),
            (b"/home/u", &top, b"/etc/passwd", None),
            (b"", &deep, b"/etc/passwd", Some(b"../etc/passwd")),
            (b"", &top, b"/", Some(b".")),
            (b"/home/u", &top, b"/home/u/../x", None),
        ];
        for (base, link, target, expected) in cases {
            let seen = Links::Contained.shown(base, link, target);
            assert_eq!(seen.as_deref(), expected, "{}", target.escape_ascii());
        }
    }

    #[test]
    fn options_take_absolute_targets_from_the_mount_or_leave_them() {
        let link = RemotePath::root().join(b"link").expect("a name");
        assert_eq!(
            Links::FromRoot.shown(b"/home", &link, b"/a").as_deref(),
            Some(&b"a"[..])
        );
        assert_eq!(
            Links::AsTheyAre.shown(b"/home", &link, b"/etc").as_deref(),
            Some(&b"/etc"[..])
        );
        assert_eq!(Links::AsTheyAre.shown(b"/home", &link, b""), None);
    }
}
