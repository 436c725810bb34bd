//! Through proxies, to real servers: each test has a network of its own, in which a proxy listens on port 1080.
//!
//! Needs root, `/dev/fuse`, Python and openssl(1); `cargo test --test real_servers proxies::`.

use crate::namespace;

const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/test-ca");

/// The server has an address that is not ours to connect from, so that a connection without the proxy can be told.
fn run(limit: u64, script: &str) {
    let prelude = format!(
        "{CA} $C; : >$S/proxied
         proxy() {{ launch /usr/bin/python3 $SUPPORT/proxy_server.py 1080 $S/proxied \"$@\"; soon answers 127.0.0.1 1080; }}"
    );
    namespace::run(limit, &format!("{prelude}\n{script}"));
}

#[test]
fn plain_and_encrypted_through_both() {
    for (scheme, word) in [("http", "http"), ("socks5", "socks")] {
        run(
            90,
            &format!(
                "proxy; vsftpd; mounts proxy={scheme}://127.0.0.1:1080; copies; unmounts
                 says $S/proxied '{word} 127.0.0.1 21'; [ $(wc -l <$S/proxied) -ge 5 ] || fail 'data went around it'"
            ),
        );
        for server in ["vsftpd_tls", "proftpd_tls"] {
            run(
                90,
                &format!(
                    "proxy u:p@w; {server}; mounts proxy={scheme}://u:p%40w@127.0.0.1,$TRUST ftpes://${{URL#ftp://}}; copies; unmounts
                     says $S/log ', resumed'; [ $(wc -l <$S/proxied) -ge 5 ] || fail 'data went around it'"
                ),
            );
        }
    }
}

#[test]
fn a_wrong_password_is_said_in_one_line() {
    run(
        60,
        "proxy u:p; vsftpd
         for proxy in http://u:x@127.0.0.1 socks5://u:x@127.0.0.1 http://127.0.0.1 socks5://127.0.0.1; do
             refuses proxy=$proxy; says $S/why 'wants another user and password'; not_says $S/why 'u:x'
         done
         refuses proxy=http://127.0.0.1:9; says $S/why 'proxy http://127.0.0.1:9'
         refuses proxy=https://127.0.0.1; says $S/why 'socks5://'",
    );
}

#[test]
fn a_closed_port_is_said_by_the_proxy() {
    run(
        60,
        "proxy; refuses proxy=http://127.0.0.1; says $S/why '502'; refuses proxy=socks5://127.0.0.1; says $S/why 'refused'",
    );
}

#[test]
fn the_environment_names_it_and_lets_hosts_off() {
    run(
        60,
        "ip address add 203.0.113.5/32 dev lo; proxy; proftpd 'DefaultAddress 203.0.113.5'; U=${URL/127.0.0.1/203.0.113.5}
         export all_proxy=socks5://127.0.0.1; mounts '' $U; copies; unmounts; says $S/proxied 'socks 203.0.113.5 21'
         : >$S/proxied; mounts proxy=none $U; copies; unmounts; is \"$(cat $S/proxied)\" ''
         export no_proxy=203.0.113.5; mounts '' $U; copies; unmounts; is \"$(cat $S/proxied)\" ''",
    );
}

#[test]
fn active_mode_says_that_it_cannot() {
    run(
        60,
        "proxy; vsftpd; mounts proxy=http://127.0.0.1,mode=active; ! ls $M 2>/dev/null || fail 'it listed'; soon says $S/log 'proxy'",
    );
}
