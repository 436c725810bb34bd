//! Encryption, with real servers that demand it: each test has a network of its own, and certificates of `scripts/test-ca`.
//!
//! Needs root, `/dev/fuse` and openssl(1); `cargo test --test real_servers tls::`.

use crate::namespace;

const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/test-ca");

fn run(limit: u64, script: &str) {
    namespace::run(limit, &format!("{CA} $C\n{script}"));
}

/// Makes a test of each server with each version of TLS.
macro_rules! on_every_server {
    ($($name:ident: $server:literal $scheme:literal $options:literal)+) => {$(
        mod $name {
            #[test]
            fn a_hundred_of_each_on_one_connection() {
                super::a_hundred_of_each($server, $scheme, $options);
            }
            #[test]
            fn files_of_no_byte_and_of_256_mib() {
                super::small_and_large($server, $scheme, $options);
            }
        }
    )+};
}

on_every_server! {
    vsftpd_13: "vsftpd_tls" "ftpes" "tls_min=1.3"
    vsftpd_12: "vsftpd_tls" "ftpes" "tls_max=1.2"
    vsftpd_implicit: "vsftpd_implicit" "ftps" "tls_min=1.3"
    proftpd_13: "proftpd_tls" "ftpes" "tls_min=1.3"
    proftpd_12: "proftpd_tls" "ftpes" "tls_max=1.2"
    pure_ftpd_13: "pure_ftpd_tls" "ftpes" "tls_min=1.3"
    pure_ftpd_12: "pure_ftpd_tls" "ftpes" "tls_max=1.2"
    pyftpdlib_13: "pyftpdlib_tls" "ftpes" "tls_min=1.3"
    pyftpdlib_12: "pyftpdlib_tls" "ftpes" "tls_max=1.2"
}

fn a_hundred_of_each(server: &str, scheme: &str, options: &str) {
    // See below: where TLS 1.3 is insisted on, ProFTPD's tickets last for two uploads, and Pure-FTPd has none.
    let few_tickets =
        ["proftpd_tls", "pure_ftpd_tls"].contains(&server) && options == "tls_min=1.3";
    let connections = if few_tickets { "any" } else { "1" };
    let resumed = if server == "pure_ftpd_tls" && few_tickets {
        0
    } else {
        300
    };
    run(
        120,
        &format!(
            "for n in {{1..100}}; do mkdir $D/d$n; head -c $((n * 1000)) /dev/urandom >$D/d$n/down; done; chown -R $account: $D
             {server}; mounts $TRUST,max_conns=1,{options} {scheme}://${{URL#ftp://}}
             for n in {{1..100}}; do
                 ls $M/d$n >$S/listed; is \"$(cat $S/listed)\" down
                 cmp $M/d$n/down $D/d$n/down
                 head -c $((n * 1000)) /dev/urandom >$S/file; cp $S/file $M/d$n/up; cmp $S/file $D/d$n/up
             done
             unmounts
             [ {connections} = any ] || is \"$(grep -c 'control connection: ' $S/log)\" {connections}
             resumed=$(grep -c 'data connection: .*, resumed' $S/log) full=$(grep -c 'data connection: .*full' $S/log || true)
             [ $resumed -ge {resumed} ] || fail \"only $resumed resumed, $full not\"
             [ {connections} = any ] || is \"$full\" 0"
        ),
    );
}

fn small_and_large(server: &str, scheme: &str, options: &str) {
    let has_none = server == "pure_ftpd_tls" && options == "tls_min=1.3";
    run(
        120,
        &format!(
            "head -c 268435456 /dev/urandom >$D/there/large; chown $account: $D/there/large
             {server}; mounts $TRUST,{options} {scheme}://${{URL#ftp://}}; copies
             cmp $M/there/large $D/there/large; cp $D/there/large $M/large; cmp $M/large $D/there/large; cmp $D/large $D/there/large
             unmounts; {has_none} || not_says $S/log 'full handshake'"
        ),
    );
}

#[test]
fn active_data_connections_are_encrypted_too() {
    for server in [
        "vsftpd_tls",
        "proftpd_tls",
        "pure_ftpd_tls",
        "pyftpdlib_tls",
    ] {
        run(
            60,
            &format!(
                "{server}; mounts mode=active,$TRUST; copies; unmounts; says $S/log 'made by EPRT'
                 says $S/log ', resumed'; not_says $S/log 'full handshake'"
            ),
        );
    }
}

#[test]
fn a_bad_certificate_is_refused_by_the_name_of_its_fault() {
    for (certificate, options, words) in [
        ("good", "tls=explicit", "no authority (CA)"),
        ("good", "cacert=$C/other-ca.pem", "no authority (CA)"),
        ("self", "$TRUST", "signed by itself"),
        ("expired", "$TRUST", "has expired"),
        (
            "elsewhere",
            "$TRUST",
            "not for the name 127.0.0.1, but for DnsName(\"elsewhere.example\")",
        ),
        (
            "good",
            "fingerprint=sha256:$(printf %064d 0)",
            "not the one of fingerprint=",
        ),
    ] {
        run(
            60,
            &format!(
                "certificate={certificate}; vsftpd_tls; refuses {options}; says $S/why '{words}'; not_says $S/commands PASS"
            ),
        );
    }
}

#[test]
fn each_option_mends_its_fault() {
    let print = "$(openssl x509 -in $C/$certificate.pem -noout -fingerprint -sha256 | cut -d= -f2)";
    for (certificate, options) in [
        ("good", "cacert=$C"),
        ("self", "cacert=$C/self.crt"),
        ("self", &format!("fingerprint=sha256:{print}")),
        ("expired", &format!("fingerprint=sha256:{print}")),
        ("elsewhere", "$TRUST,no_verify_hostname"),
        ("expired", "tls=explicit,no_verify_peer"),
    ] {
        run(
            60,
            &format!(
                "certificate={certificate}; pure_ftpd_tls; mounts {options}; copies; unmounts"
            ),
        );
    }
}

#[test]
fn no_verify_hostname_checks_all_else() {
    run(
        60,
        "certificate=expired; vsftpd_tls; refuses $TRUST,no_verify_hostname; says $S/why 'has expired'",
    );
}

#[test]
fn tried_by_default_trusted_on_first_use_and_then_only_that() {
    run(
        60,
        "vsftpd_tls; mounts ''; copies; unmounts; says $S/log 'taken on first use'; says $HOME/.config/ftpfs/known_hosts '127.0.0.1:21 sha256:'
         mounts ''; copies; unmounts; not_says $S/log 'first use'
         kill %1; wait %1 || true; certificate=renewed; vsftpd_tls
         refuses ''; says $S/why 'not the one that was first seen'; says $S/why known_hosts
         rm $HOME/.config/ftpfs/known_hosts; mounts ''; unmounts
         kill %1 2>/dev/null || true; sleep 0.5; pkill -x vsftpd || true; sleep 0.5; vsftpd
         refuses ''; says $S/why 'possible downgrade'; mounts tls=off; copies; unmounts",
    );
}

#[test]
fn server_without_tls_is_used_in_clear_unless_tls_is_required() {
    run(
        60,
        "vsftpd; mounts ''; copies; unmounts; said=$(grep -c '\"PASS' $S/commands)
         for options in tls=explicit tls=control $TRUST; do refuses $options; says $S/why 'refuses to encrypt'; done
         refuses '' ftpes://${URL#ftp://}; says $S/why 'refuses to encrypt'; is \"$(grep -c '\"PASS' $S/commands)\" $said",
    );
}

#[test]
fn a_password_in_clear_is_warned_of_once() {
    run(
        60,
        "pure_ftpd -Y 1 -2 $C/good.pem; mounts tls=off; copies; unmounts
         is \"$(grep -c 'the password went over the network in clear' $S/log)\" 1; not_says $S/log '> AUTH'",
    );
}

#[test]
fn control_leaves_the_data_in_clear() {
    run(
        60,
        "vsftpd_tls force_local_data_ssl=NO; mounts tls=control,$TRUST; copies; unmounts
         says $S/log '> PROT C'; not_says $S/log 'data connection: '",
    );
}

#[test]
fn a_client_shows_its_certificate() {
    run(
        60,
        "vsftpd_tls require_cert=YES ca_certs_file=$C/ca.pem validate_cert=YES
         refuses $TRUST; mounts \"$TRUST,cert=$C/client.pem,key=$C/client.key,pass=open sesame\"; copies; unmounts
         refuses \"$TRUST,cert=$C/client.pem,key=$C/client.key,pass=wrong\"; says $S/why 'check its passphrase'",
    );
}

/// ProFTPD gives no ticket in exchange for one that an upload used, and Pure-FTPd gives none at all; both resume any
/// number of connections with TLS 1.2.
#[test]
fn a_server_that_gives_no_tickets_is_spoken_to_in_tls_12() {
    for server in ["proftpd_tls", "pure_ftpd_tls"] {
        run(
            60,
            &format!(
                "{server}; mounts $TRUST,max_conns=1; for n in {{1..20}}; do echo $n >$M/f$n; done
                 is \"$(cat $D/f20)\" 20; is \"$(cat $M/there/down | wc -c)\" 500000; unmounts
                 says $S/log 'TLSv1_2), resumed'; not_says $S/log 'full handshake'; not_says $S/log '< 425'"
            ),
        );
    }
}

/// An impostor at the data port has another certificate, even if a valid one.
#[test]
fn a_data_connection_that_shows_another_certificate_is_refused() {
    for options in ["$TRUST", "$TRUST,tls_max=1.2", "no_verify_peer", ""] {
        run(
            60,
            &format!(
                "odd_tls other $C/renewed.pem; mounts {options:?}
                 ! ls $M 2>/dev/null || fail 'it listed'; ! cat $M/there/down >$S/got 2>/dev/null || fail 'it read'
                 ! (echo secret >$M/new) 2>/dev/null || fail 'it wrote'; [ ! -e $D/new ] || fail 'it is there'
                 soon says $S/log 'it shows another certificate than the control connection'; umount $M; wait $mounted"
            ),
        );
    }
    run(60, "odd_tls well; mounts $TRUST; copies; unmounts");
}

/// An attacker can cut an encrypted connection, but can't end it: where the server ends them, what is cut is no whole.
#[test]
fn data_without_close_notify_is_not_complete() {
    run(
        60,
        "odd_tls cut; touch $D/there/{a..e}; mounts $TRUST,cache_timeout=0; [ $(ls $M/there | wc -l) = 7 ]; cmp $M/there/down $D/there/down
         touch $D/CUT; ! ls $M/there 2>/dev/null || fail 'it listed'; soon says $S/log 'ended without'
         ! cat $M/there/down >$S/got 2>/dev/null || fail 'it read'
         rm $D/CUT; [ $(ls $M/there | wc -l) = 7 ]; cmp $M/there/down $D/there/down; unmounts",
    );
}

/// What was not said to be at its end says nothing where the server says that there is nothing.
#[test]
fn an_empty_directory_whose_listing_is_refused_is_empty() {
    run(
        60,
        "odd_tls none; mkdir $D/empty; mounts $TRUST,cache_timeout=0; [ $(ls $M/there | wc -l) = 2 ]; cmp $M/there/down $D/there/down
         ls -A $M/empty >$S/got; [ ! -s $S/got ]; unmounts",
    );
}

/// Many servers just hang up.
#[test]
fn missing_close_notify_with_226_is_complete() {
    run(
        60,
        "odd_tls unsaid; mounts $TRUST; cmp $M/there/down $D/there/down; is \"$(ls $M/there | xargs)\" 'down nothing'
         head -c 100000 /dev/urandom >$S/f; cp $S/f $M/f; cmp $S/f $D/f; unmounts",
    );
}

/// Some servers demand `PROT P` before every transfer (RFC 4217 does not). One refusal shows it.
#[test]
fn protection_that_holds_for_one_transfer_is_asked_for_each_time() {
    run(
        60,
        "odd_tls forgets; echo second >$D/there/second; mounts $TRUST,max_conns=1; ls $M/there >/dev/null; cmp $M/there/down $D/there/down
         cat $M/there/second; echo new >$M/new; is \"$(cat $D/new)\" new; is $(grep -c '< 521' $S/log) 1; unmounts",
    );
}
