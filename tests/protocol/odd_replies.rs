//! One odd reply to the first use of a capability: the next file, and the next mount, find the server as it is.

use std::thread;

use crate::mount::Mount;
use crate::scripted::{Act, Script, Server};

/// What goes wrong once.
const ODD: [Act; 8] = [
    Act::Reply("450 Odd."),
    Act::Reply("500 Odd."),
    Act::Reply("501 Odd."),
    Act::Reply("502 Odd."),
    Act::Reply("550 Odd."),
    Act::Reply("553 Odd."),
    Act::Twice,
    Act::Swap,
];

/// A capability: what the server lacks so that it is used, the command, and a script that uses it on the files of
/// directory `$1` and tells by its success whether all is right.
struct Use {
    options: &'static str,
    without: &'static [&'static str],
    command: &'static str,
    /// How often the command is answered well before.
    skip: usize,
    script: &'static str,
}

const USE: Use = Use {
    options: "",
    without: &[],
    command: "",
    skip: 0,
    script: "",
};

/// Stores a part of a file, by `STOR` after `REST`.
const PATCH: &str = "printf ab | dd of=$1/long bs=1 seek=2000000 conv=notrunc status=none && test \"$(tail -c +2000001 $1/long | head -c 3)\" = abx";

const USES: &[Use] = &[
    Use {
        command: "MLSD",
        script: "test \"$(ls -A $1 | wc -l)\" = 3",
        ..USE
    },
    Use {
        without: &["MLSD", "MLST"],
        command: "LIST -a",
        script: "test \"$(ls -A $1 | wc -l)\" = 3",
        ..USE
    },
    Use {
        without: &["MLSD", "MLST"],
        command: "MDTM",
        script: "test \"$(stat -c %Y $1/f)\" = 1612325106",
        ..USE
    },
    Use {
        command: "MLST",
        script: "test \"$(stat -c %s $1/f)\" = 7",
        ..USE
    },
    Use {
        command: "SITE CHMOD",
        script: "chmod 600 $1/f && test \"$(stat -c %a $1/f)\" = 600",
        ..USE
    },
    Use {
        command: "MFMT",
        script: "touch -d @1500000000 $1/f && test \"$(stat -c %Y $1/f)\" = 1500000000",
        ..USE
    },
    Use {
        without: &["MLSD", "MLST", "MFMT", "SITE"],
        command: "MDTM 20170714024000",
        script: "touch -d @1500000000 $1/f && test \"$(stat -c %Y $1/f)\" = 1500000000",
        ..USE
    },
    Use {
        command: "APPE",
        script: "echo more >>$1/f && test \"$(cat $1/f)\" = \"contentmore\"",
        ..USE
    },
    Use {
        command: "STOR",
        skip: 1,
        script: PATCH,
        ..USE
    },
    Use {
        command: "REST",
        script: "test \"$(tail -c 3 $1/long)\" = end",
        ..USE
    },
    Use {
        command: "EPSV",
        script: "test \"$(cat $1/f)\" = content",
        ..USE
    },
    // The one that makes a data connection in advance.
    Use {
        command: "EPSV",
        skip: 1,
        script: "ls $1 >/dev/null && test \"$(cat $1/f $1/g)\" = contentother",
        ..USE
    },
    // A listing over a data connection that was made in advance.
    Use {
        command: "MLSD",
        skip: 1,
        script: "ls $1 >/dev/null && test \"$(ls -A $1 | wc -l)\" = 3",
        ..USE
    },
    // Its data goes together with it.
    Use {
        command: "STOR",
        script: "ls $1 >/dev/null && echo new >$1/n && test \"$(cat $1/n)\" = new",
        ..USE
    },
    Use {
        command: "RNTO",
        script: "mv -f $1/g $1/f && test \"$(cat $1/f)\" = other",
        ..USE
    },
    Use {
        options: "atomic",
        command: "RNTO",
        script: "echo new >$1/f && test \"$(cat $1/f)\" = new",
        ..USE
    },
    Use {
        without: &["MLSD", "MLST"],
        command: "STAT",
        script: "test \"$(stat -c %s $1/f)\" = 7",
        ..USE
    },
    Use {
        command: "AUTH",
        script: "test \"$(cat $1/f)\" = content",
        ..USE
    },
    Use {
        command: "OPTS",
        script: "test \"$(cat $1/f)\" = content",
        ..USE
    },
];

fn server(used: &Use) -> Server {
    let server = Script::new().without(used.without).start();
    for directory in ["a", "b", "c", "d"] {
        for (name, text) in [("f", "content"), ("g", "other"), (".h", "hidden")] {
            server.tree().put(&format!("/{directory}/{name}"), text);
        }
        if used.script.contains("long") {
            let long = ["x".repeat(3 << 20), "end".to_string()].concat();
            server.tree().put(&format!("/{directory}/long"), long);
        }
    }
    server
}

/// What is wrong after one odd reply; empty where all is well.
fn try_odd_reply(used: &Use, odd: Act) -> Vec<String> {
    let shown = format!("{} after {} is {odd:?}", used.command, used.skip);
    let server = server(used);
    let is_of_login = ["AUTH", "OPTS"].contains(&used.command);
    if is_of_login {
        server.once(used.command, odd.clone());
    }
    let mut mount = Mount::with(&server, used.options);
    if !is_of_login {
        server.after(used.skip, used.command, odd);
    }
    let run = |mount: &Mount, directory| {
        let script = format!("set -- {directory}; {}", used.script);
        mount.try_sh(&script).succeeded()
    };
    // A refusal of a command without a path counts for this mount, and ways to data connections replace each other.
    let is_path = !["EPSV", "REST", "AUTH", "OPTS"].contains(&used.command);
    let is_used = |mark| !server.since(mark, &[used.command]).is_empty();
    // The odd reply may fail these.
    run(&mount, "a");
    run(&mount, "b");
    let mark = server.mark();
    let mut wrong = Vec::new();
    if !run(&mount, "c") {
        wrong.push(format!("{shown}: another file fails"));
    } else if is_path && !is_used(mark) {
        wrong.push(format!("{shown}: not used again"));
    }
    mount.unmount();
    let mark = server.mark();
    mount.again_with(&server, used.options);
    if !run(&mount, "d") {
        wrong.push(format!("{shown}: another mount fails"));
    } else if used.command != "EPSV" && !is_used(mark) {
        wrong.push(format!("{shown}: not used by another mount"));
    }
    mount.unmount();
    wrong
}

/// Tests that run at once.
const THREADS: usize = 4;

#[test]
fn one_odd_reply_ends_no_capability() {
    let tests: Vec<_> = USES
        .iter()
        .flat_map(|used| ODD.map(|odd| (used, odd)))
        .collect();
    let parts = tests.chunks(tests.len().div_ceil(THREADS));
    let wrong: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = parts
            .map(|part| {
                let odd_replies = || {
                    let odd = part.iter().cloned();
                    odd.flat_map(|(used, odd)| try_odd_reply(used, odd))
                        .collect::<Vec<_>>()
                };
                scope.spawn(odd_replies)
            })
            .collect();
        let ended = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        ended.collect()
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// FEAT of embedded servers has `MLSD` alone.
/// A server that answers a command twice, each time: what comes unasked is noticed, and dropped.
#[test]
fn command_that_is_always_answered_twice_is_no_obstacle() {
    for verb in ["OPTS", "TYPE", "PASS", "CWD"] {
        let server = Server::start();
        server.tree().put("/d/f", "content");
        server.on(verb, Act::Twice);
        let mut mount = Mount::of(&server);
        for name in ["first", "second"] {
            mount.sh(&format!(
                "test \"$(ls d)\" = f; test \"$(cat d/f)\" = content; echo new > {name}; test \"$(cat {name})\" = new; rm {name}"
            ));
            mount.unmount();
            mount.again(&server);
        }
        mount.unmount();
    }
}

#[test]
fn mlst_that_feat_does_not_list_is_refused_twice_at_most() {
    let server = Script::new().without(&["MLST"]).start();
    let features = "211-Features:\r\n MLSD\r\n SIZE\r\n211 End";
    server.on("FEAT", Act::Reply(features));
    let mount = Mount::of(&server);
    mount.sh("for n in 1 2 3 4 5; do echo $n > f$n; test \"$(cat f$n)\" = $n; done");
    assert_eq!(server.count("MLST"), 2);
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
