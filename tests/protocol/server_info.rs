//! What few servers offer: free space, hashes, links, and other words that set rights and times.

use crate::mount::Mount;
use crate::scripted::{Act, Script, Server};

/// A server that offers these features besides, and answers as it is told to.
fn offering(script: Script, features: &[&str], answers: &[(&str, &'static str)]) -> Server {
    let server = script.start();
    server.tree().put("/f", "content");
    let more: String = features.iter().map(|one| format!(" {one}\r\n")).collect();
    let list = format!(
        "211-Features:\r\n UTF8\r\n EPSV\r\n MDTM\r\n SIZE\r\n REST STREAM\r\n\
         \x20MLST type*;size*;modify*;UNIX.mode*;\r\n{more}211 End\r\n"
    );
    server.on("FEAT", Act::Raw(list.into_bytes()));
    for (command, words) in answers {
        server.on(command, Act::Reply(words));
    }
    server
}

#[test]
fn the_free_space_is_what_the_server_says_it_is() {
    let tab = "200-The current quota for this session are [current/limit]:\r\n\
               \x20Uploaded bytes:\t4096.00/12288.00\r\n200 Please contact root";
    for (features, command, words, free) in [
        (&["AVBL"][..], "AVBL", "213 8192", 8192),
        (
            &["XQUOTA"][..],
            "XQUOTA",
            "213-Disk quota: 12 KB\r\n Disk limit: 12 KB\r\n Disk used: 4 KB\r\n213 End",
            8192,
        ),
        (&[][..], "SITE QUOTA", tab, 8192),
        (&[][..], "SITE QUOTA", "500 What?", 1_u64 << 50),
    ] {
        let server = offering(Script::new(), features, &[(command, words)]);
        let mount = Mount::of(&server);
        for _ in 0..2 {
            let said = mount.python("v = os.statvfs('.'); print(v.f_bavail * v.f_frsize)");
            assert_eq!(said.trim(), free.to_string(), "{command}: {words}");
        }
        assert_eq!(server.count(command), 1, "{command}");
    }
}

#[test]
fn extended_attributes_are_the_servers_own_words() {
    const HASH: &str = "9F86D081884C7D65";
    for (feature, command, words, expected) in [
        (
            "HASH SHA-256*;SHA-1",
            "HASH /f",
            "213 SHA-256 0-6 9F86D081884C7D65 /f",
            "SHA-256",
        ),
        ("XSHA256", "XSHA256 /f", "250 9F86D081884C7D65", "SHA256"),
        ("XMD5", "XMD5 /f", "250 9F86D081884C7D65", "MD5"),
        ("XCRC", "XCRC /f", "250 9F86D081884C7D65", "CRC"),
    ] {
        let server = offering(Script::new(), &[feature], &[(command, words)]);
        let mount = Mount::of(&server);
        let get = |name: &str| {
            mount.python(&format!(
                "print(os.getxattr('f', 'user.ftp.{name}').decode())"
            ))
        };
        assert_eq!(
            get("hash").trim(),
            format!("{expected}:{}", HASH.to_lowercase())
        );
        assert!(get("facts").contains("size=7;"));
        assert!(get("raw").trim().ends_with("; f"));
        assert_eq!(
            mount.error("os.setxattr('f', 'user.ftp.hash', b'x')"),
            "ENOTSUP"
        );
        assert_eq!(mount.error("os.getxattr('f', 'user.ftp.other')"), "ENODATA");
        // ls(1) asks no second time then.
        for name in ["system.posix_acl_access", "security.selinux"] {
            let lacks = mount.error(&format!("os.getxattr('f', '{name}')"));
            assert!(["ENOTSUP", "EOPNOTSUPP"].contains(&&lacks[..]), "{lacks}");
        }
    }
    let server = offering(Script::new(), &[], &[]);
    assert_eq!(
        Mount::of(&server).error("os.getxattr('f', 'user.ftp.hash')"),
        "ENODATA"
    );
}

#[test]
fn rights_are_set_by_facts_where_those_can_be_set() {
    let words = "213 UNIX.mode=0600; /f";
    let server = offering(Script::new(), &["MFF modify;UNIX.mode;"], &[("MFF", words)]);
    let mount = Mount::of(&server);
    mount.sh("chmod 600 f; [ $(stat -c %a f) = 600 ]");
    assert_eq!(
        server.since(0, &["MFF", "SITE"]),
        ["MFF UNIX.mode=0600; /f"]
    );
}

#[test]
fn times_are_set_by_the_first_words_that_the_server_knows() {
    let both = "20010203040506 /f";
    let long = "SITE UTIME /f 20010203040506 20010203040506 20010203040506 UTC";
    for (command, expected) in [
        (format!("SITE UTIME {both}"), format!("SITE UTIME {both}")),
        (long.to_owned(), long.to_owned()),
    ] {
        let without = &["MFMT", "MDTM-SET"];
        let server = offering(
            Script::new().without(without),
            &[],
            &[(&command, "200 Set")],
        );
        let mount = Mount::of(&server);
        mount.sh("touch -m -d 2001-02-03T04:05:06Z f");
        assert_eq!(
            server.since(0, &["SITE UTIME"]).pop(),
            Some(expected.clone())
        );
        // What it knows is asked for alone from then on.
        let mark = server.mark();
        mount.sh("touch -m -d 2001-02-03T04:05:06Z f");
        assert_eq!(
            server.since(mark, &["SITE UTIME", "MFMT", "MDTM 2"]),
            [expected]
        );
    }
}

#[test]
fn links_are_made_where_the_server_can() {
    let server = offering(
        Script::new(),
        &["SITE SYMLINK;UTIME"],
        &[("SITE SYMLINK", "200 Made")],
    );
    let mount = Mount::of(&server);
    mount.sh("ln -s f link; [ $(readlink link) = f ]");
    assert_eq!(server.since(0, &["SITE"]), ["SITE SYMLINK f /link"]);
    // It parts its arguments at blanks, and would make another link.
    assert_eq!(mount.error("os.symlink('a b', 'other')"), "EPERM");
    assert_eq!(server.count("SITE SYMLINK"), 1);
}
