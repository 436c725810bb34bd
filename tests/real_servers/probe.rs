//! `ftpfs probe` on real servers, with and without firewalls: its verdicts, one by one. Each test has a network of its own.
//!
//! Needs root, Python and openssl(1); `cargo test --test real_servers probe::`.

use crate::namespace;

const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/test-ca");

/// `probes STATUS OPTIONS [ARGUMENT...]` runs it for `$SOURCE`, `has EXPRESSION` is about its JSON: `r` is all of it,
/// `way` the ways by name. Without `--write` nothing may have been changed on the server, with it nothing may be left.
const PRELUDE: &str = r#"
SOURCE=$URL
# Directories have a new time, once something was made and removed in them.
tree() { find "$D" -type f -printf '%p %s %T@ %m\n' -o -printf '%p %m\n' | sort; }
probes() {
    local expected=$1 options=$2 status=0 before after
    shift 2
    before=$(tree)
    "$FTPFS" probe "$SOURCE" -o "$options" --json "$@" >"$S/json" 2>"$S/log" </dev/null || status=$?
    [ $status = "$expected" ] || fail "probe ended with $status: $(cat "$S/json" "$S/log")"
    after=$(tree)
    is "$after" "$before"
    not_says "$S/json" "$password"
}
has() {
    /usr/bin/python3 -I -c "
import json, sys
r = json.load(open('$S/json'))
way = {one['way']: one for one in r['data_connections']}
def works(*names): return all(way[name]['works'] for name in names)
def fails(fault, *names): return all(way[name]['fault'] == fault and way[name]['why'] for name in names)
def notes(words): return words in ' '.join(r['advice']['notes'])
sys.exit(0 if ($1) else 1)" || fail "not so: $1: $(cat "$S/json" "$S/log")"
}
drops() {
    nft 'add table inet t'; nft 'add chain inet t c { type filter hook input priority 0; }'
    nft "add rule inet t c tcp dport $1 drop"
}
"#;

fn run(limit: u64, script: &str) {
    namespace::run(limit, &format!("{PRELUDE}\n{script}"));
}

fn run_tls(limit: u64, script: &str) {
    namespace::run(limit, &format!("{CA} $C\n{PRELUDE}\n{script}"));
}

/// What all four have in common, and that each is known by its own.
#[test]
fn the_four_servers_are_seen_as_they_are() {
    for (server, own) in [
        (
            "vsftpd",
            "r['listing']['by'] == 'LIST -a' and r['listing']['format'] == 'Unix' and r['listing']['zone_seconds'] == 0
             and r['writing']['rest_stor'] == 'keeps' and r['writing']['sets_times'] == 'MDTM'
             and not r['writing']['sets_times_of_directories'] and 'vsFTPd' in r['server']['greeting'][0]",
        ),
        (
            "proftpd",
            "r['listing']['by'] == 'MLSD' and r['writing']['rest_stor'] == 'keeps' and r['writing']['sets_times'] == 'MFMT'
             and r['writing']['sets_times_of_directories'] and 'ProFTPD' in r['server']['greeting'][0]",
        ),
        (
            "pure_ftpd",
            "r['listing']['by'] == 'MLSD' and r['writing']['rest_stor'] == 'cuts' and r['writing']['sets_times'] == 'MFMT'
             and r['writing']['sets_times_of_directories'] and 'Pure-FTPd' in r['server']['greeting'][0]",
        ),
        (
            "pyftpdlib",
            "r['listing']['by'] == 'MLSD' and r['writing']['rest_stor'] == 'keeps' and r['writing']['sets_times'] == 'MFMT'
             and not r['writing']['sets_times_of_directories'] and 'pyftpdlib' in r['server']['greeting'][0]",
        ),
    ] {
        run(
            60,
            &format!(
                "{server}; SOURCE=${{URL}}there; probes 0 '' --write
                 has \"r['format'] == 1 and r['mountable'] and r['error'] is None\"
                 has \"works('EPSV', 'PASV', 'EPRT', 'PORT') and all(one['took_ms'] < 10000 for one in way.values())\"
                 has \"r['server']['directory'] == '/there' and r['server']['system'].startswith('UNIX')\"
                 has \"'EPSV' in r['server']['features'] or 'EPRT' in ' '.join(r['server']['features'])\"
                 has \"r['listing']['entries'] == 2 and r['listing']['whole'] and r['reading'] == 'honest'\"
                 has \"all(r['writing'][what] for what in ['store', 'append', 'rename_replaces', 'chmod'])\"
                 has \"r['writing']['reading'] == 'honest' and r['scratch']['removed']\"
                 has \"r['connections'] == {{'wanted': 8, 'taken': 8, 'refusal': None}}\"
                 has \"not r['encryption']['offered'] and r['advice']['options'] == []\"
                 has \"\"\"{own}\"\"\""
            ),
        );
    }
}

#[test]
fn without_being_asked_to_it_writes_nothing() {
    run(
        60,
        "vsftpd; probes 0 ''; has \"r['writing'] is None and r['scratch'] is None\"
         for verb in STOR APPE MKD RNFR DELE RMD 'SITE CHMOD' MFMT; do not_says $S/commands \"\\\"$verb\"; done",
    );
}

#[test]
fn passive_off() {
    run(
        60,
        "vsftpd pasv_enable=NO; probes 0 ''; has \"fails('refused', 'EPSV', 'PASV') and works('EPRT', 'PORT')\"
         has \"r['mountable'] and r['advice']['options'] == ['mode=active']\"
         probes 2 mode=passive,ro; has \"not r['mountable'] and r['advice']['options'] == ['ro', 'mode=active']\"",
    );
}

#[test]
fn active_off() {
    run(
        60,
        "vsftpd port_enable=NO; probes 0 ''; has \"works('EPSV', 'PASV') and fails('refused', 'EPRT', 'PORT')\"
         has \"r['mountable'] and r['advice']['options'] == []\"
         probes 2 mode=active; has \"not r['mountable'] and r['advice']['options'] == ['mode=passive']\"",
    );
}

#[test]
fn epsv_refused() {
    run(
        60,
        "proftpd '<Limit EPSV EPRT>' DenyAll '</Limit>'; probes 0 ''
         has \"fails('refused', 'EPSV', 'EPRT') and works('PASV', 'PORT') and r['advice']['options'] == []\"",
    );
}

#[test]
fn a_private_address_is_named() {
    run(
        60,
        "proftpd 'MasqueradeAddress 10.9.8.7'; probes 0 ''
         has \"works('EPSV', 'PASV') and way['PASV']['named'] == '10.9.8.7' and way['PASV']['named_private']\"
         has \"notes('10.9.8.7') and notes('behind NAT') and r['advice']['options'] == []\"",
    );
}

#[test]
fn filtered_passive_ports() {
    run(
        120,
        "vsftpd pasv_min_port=50000 pasv_max_port=51000; drops 50000-51000
         probes 0 timeout=4; has \"fails('filtered', 'EPSV', 'PASV') and works('EPRT', 'PORT')\"
         has \"':50' in way['EPSV']['why'] and r['advice']['options'] == ['timeout=4', 'mode=active']\"
         # Rejected in place of dropped: something answers there, and refuses.
         nft 'flush chain inet t c'; nft 'add rule inet t c tcp dport 50000-51000 reject with tcp reset'
         probes 0 timeout=4; has \"fails('closed', 'EPSV', 'PASV') and works('EPRT', 'PORT')\"",
    );
}

#[test]
fn a_server_that_can_not_reach_us() {
    run(
        120,
        "vsftpd; drops 40000-40009
         probes 0 timeout=4,port_range=40000-40009; has \"works('EPSV', 'PASV') and fails('unreached', 'EPRT', 'PORT')\"
         has \"'firewall' in way['EPRT']['why'] and '127.0.0.1' in way['EPRT']['why']\"",
    );
}

#[test]
fn nothing_gets_through() {
    run(
        120,
        "vsftpd pasv_min_port=50000 pasv_max_port=51000; drops 40000-40009; nft 'add rule inet t c tcp dport 50000-51000 drop'
         probes 2 timeout=4,port_range=40000-40009
         has \"not r['mountable'] and fails('filtered', 'EPSV', 'PASV') and fails('unreached', 'EPRT', 'PORT')\"
         has \"notes('No data connection works') and r['listing'] is None\"",
    );
}

#[test]
fn client_behind_nat_is_recognized() {
    run(
        120,
        "ip address add 203.0.113.5/32 dev lo; proftpd 'DefaultAddress 203.0.113.5'; drops 40000-40009
         SOURCE=ftp://$account:$password@203.0.113.5/ probes 0 bind=127.0.0.1,timeout=4,port_range=40000-40009
         has \"r['server']['behind_nat'] and works('EPSV', 'PASV') and fails('unreached', 'EPRT', 'PORT')\"
         has \"'behind NAT' in way['EPRT']['why']\"",
    );
}

#[test]
fn ipv6_has_its_own_ways() {
    run(
        60,
        "vsftpd address=::1; SOURCE=ftp://$account:$password@[::1]/; probes 0 ''; has \"works('EPSV', 'EPRT')\"
         has \"'IPv6' in way['PORT']['why'] and fails('barred', 'PORT') and r['advice']['options'] == []\"",
    );
}

#[test]
fn proxy_makes_active_mode_impossible() {
    run(
        60,
        "launch /usr/bin/python3 $SUPPORT/proxy_server.py 1080 $S/proxied u:s3cret; soon answers 127.0.0.1 1080; vsftpd
         probes 0 proxy=socks5://u:s3cret@127.0.0.1:1080; has \"works('EPSV', 'PASV') and fails('barred', 'EPRT', 'PORT')\"
         has \"r['advice']['options'] == ['proxy=socks5://USER:PASSWORD@127.0.0.1:1080']\"; not_says $S/json s3cret",
    );
}

#[test]
fn few_connections() {
    run(
        60,
        "vsftpd max_per_ip=3; probes 0 ''; has \"r['connections']['taken'] == 3 and r['connections']['refusal']\"
         has \"r['advice']['options'] == ['max_conns=3']\"",
    );
    // Just one: what looked before the login must be gone by then.
    run(
        90,
        "vsftpd max_per_ip=1; probes 0 '' --write; has \"r['connections']['taken'] == 1 and r['connections']['refusal']\"
         has \"works('EPSV', 'PASV', 'EPRT', 'PORT') and r['writing']['store'] and r['advice']['options'] == ['max_conns=1']\"",
    );
}

#[test]
fn a_zone_is_learned_from_a_file() {
    run(
        60,
        "touch $D/there/down; export TZ=XXX-5:30; proftpd 'TimesGMT off' 'FactsAdvertise off'; SOURCE=${URL}there; probes 0 ''
         has \"r['listing']['by'] == 'LIST -a' and r['listing']['zone_seconds'] == 19800\"",
    );
}

#[test]
fn tls_session_resumption_demand_is_recognized() {
    for (server, demanded) in [
        ("vsftpd_tls", "True"),
        ("proftpd_tls", "True"),
        ("pure_ftpd_tls", "False"),
        ("pyftpdlib_tls", "False"),
    ] {
        run_tls(
            90,
            &format!(
                "{server}; print=$(openssl x509 -in $C/good.pem -noout -fingerprint -sha256 | cut -d= -f2 | tr -d : | tr A-F a-f)
                 probes 0 $TRUST --write; has \"works('EPSV', 'PASV', 'EPRT', 'PORT')\"
                 has \"r['encryption']['version'] == 'TLS 1.3' and r['encryption']['cipher'].startswith('TLS13_')\"
                 has \"r['encryption']['subject'] == 'CN=localhost' and r['encryption']['issuer'] == 'CN=ca'\"
                 has \"r['encryption']['not_after'] == 2366841600 and r['encryption']['not_before'] == 1735689600\"
                 has \"r['encryption']['fingerprint'] == 'sha256:$print'\"
                 has \"r['encryption']['verified'] and r['encryption']['fault'] is None and r['encryption']['data']\"
                 has \"r['encryption']['resumption_demanded'] is {demanded} and r['encryption']['resumes']\"
                 has \"r['writing']['store'] and r['connections']['taken'] == 8 and r['mountable']\"
                 probes 0 $TRUST,tls_max=1.2; has \"r['encryption']['version'] == 'TLS 1.2' and r['encryption']['resumes']\""
            ),
        );
    }
}

#[test]
fn tls_from_the_first_byte_on() {
    run_tls(
        60,
        "vsftpd_implicit; SOURCE=ftps://${URL#ftp://}; probes 0 $TRUST
         has \"works('EPSV', 'PASV', 'EPRT', 'PORT') and r['encryption']['verified'] and r['encryption']['resumes']\"",
    );
}

#[test]
fn bad_certificate_is_shown_and_no_password_sent() {
    for (certificate, options, words) in [
        ("good", "tls=explicit", "no authority (CA)"),
        ("self", "$TRUST", "signed by itself"),
        ("expired", "$TRUST", "has expired"),
        ("elsewhere", "$TRUST", "not for the name 127.0.0.1"),
    ] {
        run_tls(
            60,
            &format!(
                "certificate={certificate}; vsftpd_tls; probes 1 {options}; not_says $S/commands USER
                 has \"not r['mountable'] and '{words}' in r['error'] and '{words}' in r['encryption']['fault']\"
                 has \"r['encryption']['verified'] is False and r['encryption']['subject']\"
                 has \"'fingerprint=' + r['encryption']['fingerprint'] in r['advice']['options']\"
                 # What it advises works.
                 option=$(/usr/bin/python3 -I -c \"import json; print(','.join(json.load(open('$S/json'))['advice']['options']))\")
                 probes 0 \"$option\"; has \"r['mountable'] and r['encryption']['verified']\""
            ),
        );
    }
}

#[test]
fn certificate_trusted_on_first_use_is_not_called_verified() {
    run_tls(
        60,
        "vsftpd_tls; probes 0 ''; has \"r['mountable'] and r['encryption']['verified'] is False and r['encryption']['fault']\"
         has \"r['advice']['options'] == [] and notes('fingerprint=sha256:')\"
         probes 1 tls=off; has \"r['encryption']['offered'] and r['encryption']['verified'] is None and r['error']\"",
    );
}

#[test]
fn text_report_contains_no_password() {
    run(
        60,
        "vsftpd pasv_enable=NO; $FTPFS probe $URL -o ro,proxy=none --write >$S/said 2>$S/log
         for words in 'EPSV (passive)  fails' 'the server refuses it' 'EPRT (active)   works' 'LIST -a, in the format of Unix' \\
             'REST before STOR writes there and keeps the rest' 'replaces an existing file' 'removed' '8 accepted' \\
             \"ftpfs ftp://$account@127.0.0.1/ MOUNTPOINT -o ro,proxy=none,mode=active\" \\
             \"ftp://$account@127.0.0.1/  MOUNTPOINT  fuse.ftpfs  noauto,x-systemd.automount,_netdev,nofail,ro,proxy=none,mode=active  0  0\"
         do says $S/said \"$words\"; done
         not_says $S/said $password; is \"$(cat $S/log)\" ''
         # Who has read enough hangs up.
         (trap '' PIPE; $FTPFS probe $URL 2>$S/log; echo $? >$S/status) | head -n 1 >$S/said
         is \"$(cat $S/log $S/status)\" 0; (trap '' PIPE; $FTPFS --help 2>$S/log) | true; is \"$(cat $S/log)\" ''",
    );
}

#[test]
fn mount_uses_what_probe_learned() {
    run(
        60,
        "vsftpd pasv_enable=NO; probes 0 ''; says $HOME/.cache/ftpfs/servers/$account@127.0.0.1:21 'way EPRT'
         has \"'way EPRT' in r['kept']['facts'] and r['kept']['file'].endswith('@127.0.0.1:21')\"
         : >$S/commands; mounts ''; copies; unmounts; not_says $S/log '> EPSV'; not_says $S/log '> PASV'; says $S/log 'made by EPRT'",
    );
}

#[test]
fn failed_login_is_one_line() {
    run(
        60,
        "vsftpd; SOURCE=ftp://$account:wrong@127.0.0.1/; probes 1 ''; has \"'user and password' in r['error'] and r['server']['greeting']\"
         for source in ftp://$account:wrong@127.0.0.1/ ftp://127.0.0.1:9/ ftp://$account:$password@127.0.0.1/nowhere x; do
             ! $FTPFS probe $source >/dev/null 2>$S/why </dev/null || fail 'it ended well'; is \"$(grep -c . $S/why)\" 1
         done",
    );
}
