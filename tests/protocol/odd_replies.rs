//! One odd reply to the first use of a capability: the next file, and the next mount, find the server as it is.

use crate::mount::Mount;
use crate::scripted::{Act, Script, Server};

const ODD: [&str; 6] = [
    "450 Odd.", "500 Odd.", "501 Odd.", "502 Odd.", "550 Odd.", "553 Odd.",
];

/// A capability: what the server lacks so that it is used, the command, and a script that uses it on the files of
/// directory `$1` and tells by its success whether all is right.
struct Use {
    without: &'static [&'static str],
    command: &'static str,
    script: &'static str,
}

const USES: &[Use] = &[
    Use {
        without: &[],
        command: "MLSD",
        script: "test \"$(ls -A $1 | wc -l)\" = 3",
    },
    Use {
        without: &["MLSD", "MLST"],
        command: "LIST -a",
        script: "test \"$(ls -A $1 | wc -l)\" = 3",
    },
    Use {
        without: &["MLSD", "MLST"],
        command: "MDTM",
        script: "test \"$(stat -c %Y $1/f)\" = 1612325106",
    },
    Use {
        without: &[],
        command: "SITE CHMOD",
        script: "chmod 600 $1/f && test \"$(stat -c %a $1/f)\" = 600",
    },
    Use {
        without: &[],
        command: "MFMT",
        script: "touch -d @1500000000 $1/f && test \"$(stat -c %Y $1/f)\" = 1500000000",
    },
    Use {
        without: &["MLSD", "MLST", "MFMT", "SITE"],
        command: "MDTM 20170714024000",
        script: "touch -d @1500000000 $1/f && test \"$(stat -c %Y $1/f)\" = 1500000000",
    },
    Use {
        without: &[],
        command: "APPE",
        script: "echo more >>$1/f && test \"$(cat $1/f)\" = \"contentmore\"",
    },
    Use {
        without: &[],
        command: "REST",
        script: "test \"$(tail -c 3 $1/f)\" = ent",
    },
    Use {
        without: &[],
        command: "EPSV",
        script: "test \"$(cat $1/f)\" = content",
    },
    Use {
        without: &[],
        command: "RNTO",
        script: "mv -f $1/g $1/f && test \"$(cat $1/f)\" = other",
    },
];

fn server(used: &Use) -> Server {
    let server = Script::new().without(used.without).start();
    for directory in ["a", "b", "c"] {
        for (name, text) in [("f", "content"), ("g", "other"), (".h", "hidden")] {
            server.tree().put(&format!("/{directory}/{name}"), text);
        }
    }
    server
}

#[test]
fn one_odd_reply_ends_no_capability() {
    for used in USES {
        for odd in ODD {
            let server = server(used);
            let mut mount = Mount::of(&server);
            server.once(used.command, Act::Reply(odd));
            let script = |directory| format!("set -- {directory}; {}", used.script);
            // The odd reply may fail this one.
            mount.sh(&format!("({}) || true", script("a")));
            let shown = format!("{} answered {odd:?}", used.command);
            mount.sh(&format!(
                "({}) || {{ echo '{shown}' >&2; exit 1; }}",
                script("b")
            ));
            mount.unmount();
            let mark = server.mark();
            mount.again(&server);
            mount.sh(&format!(
                "({}) || {{ echo '{shown}' >&2; exit 1; }}",
                script("c")
            ));
            mount.unmount();
            if !["EPSV", "REST"].contains(&used.command) {
                assert_ne!(server.since(mark, &[used.command]).len(), 0, "{shown}");
            }
        }
    }
}

/// vsftpd, one of whose processes was killed. The session ends; the command is not unknown.
#[test]
fn session_that_ends_with_oops_is_replaced() {
    let server = Server::start();
    server.tree().put("/log", "first\n");
    for (options, oops) in [
        ("", "500 OOPS: child died"),
        ("writeback", "500 OOPS: priv_sock_send_cmd"),
    ] {
        let mut mount = Mount::with(&server, options);
        mount.sh("ls >/dev/null; cat log >/dev/null; echo warm >warm");
        for command in ["EPSV", "STOR", "APPE", "MLSD"] {
            server.once(command, Act::Reply(oops));
            mount.sh("echo a >f; echo more >>log; ls >/dev/null; sync f log");
        }
        mount.unmount();
        assert_eq!(server.tree().bytes("/f"), Some(&b"a\n"[..]), "{oops}");
        assert_eq!(mount.lost().len(), 0);
        // What they ask for is still believed to work.
        assert!(!mount.log().contains("does not append"), "{}", mount.log());
        server.behave();
        server.tree().put("/log", "first\n");
    }
}
