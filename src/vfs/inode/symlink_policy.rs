//! Decides what symbolic links show: targets stay within the mount.
//!
//! A target means what it means on the *server*. A relative one that does not climb out is kept; an absolute one below the
//! mounted directory becomes relative; every other one would show a local file under the server's name, and is refused
//! unless an option says otherwise.

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
    // From where the link is, no higher than needed: what is copied together still fits together.
    let place: Vec<_> = names(link.as_bytes()).collect();
    let place = &place[..place.len().saturating_sub(1)];
    let target: Vec<_> = names(below).collect();
    let shared = place
        .iter()
        .zip(&target)
        .take_while(|(a, b)| a == b)
        .count();
    let up = vec![&b".."[..]; place.len() - shared];
    let relative = [&up[..], &target[shared..]].concat().join(&b'/');
    Some(if relative.is_empty() {
        b".".to_vec()
    } else {
        relative
    })
}

/// The names in a path.
fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    path.split(|&byte| byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
}

/// Whether a path, begun `depth` directories below the root, never climbs above it. A `..` after a name is refused too:
/// that name may be another link, and then `..` does not lead back.
fn stays_within(path: &[u8], depth: usize) -> bool {
    let names = names(path);
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
        let cases: [Case<'_>; 15] = [
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
            (b"", &deep, b"/", Some(b"..")),
            (b"/home/u", &deep, b"/home/u/d/a//b", Some(b"a/b")),
            (b"/home/u", &deep, b"/home/u/d", Some(b".")),
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
