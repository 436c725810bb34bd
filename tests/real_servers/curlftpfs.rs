//! Command lines and fstab lines that were written for curlftpfs: each row of `docs/curlftpfs.md` is mounted.

use crate::namespace::run;

const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/test-ca");
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/curlftpfs.md");

/// Installs the program with its links, for mount(8), which starts `curlftpfs` and the helpers. A command line that is
/// mounted is unmounted again by umount(8).
const INSTALLED: &str = r#"
mkdir -p /run/mount $S/over; mount -t tmpfs none /run/mount; mount -t tmpfs none $S/over
for directory in /usr/sbin /usr/local; do
    mkdir -p $S/over$directory/{upper,work}
    mount -t overlay none -o lowerdir=$directory,upperdir=$S/over$directory/upper,workdir=$S/over$directory/work $directory
done
FTPFS=$FTPFS $SUPPORT/../../scripts/run --install >/dev/null
# mount(8) passes no HOME, and mount.fuse3(8) takes /root.
mount --bind $S /root; PATH=/usr/local/bin:$PATH
(umask 077; echo "machine $A login $account password $password" >$S/.netrc)
curl() { timeout 20 curlftpfs "$@" 2>$S/said </dev/null || fail "curlftpfs $(tr '\n' ' ' <<<"$*"): $(cat $S/said)"; shown; }
# The mount works, its type is that of curlftpfs, and its password is not shown.
shown() {
    is "$(findmnt -nro FSTYPE $M)" fuse.curlftpfs; cmp $D/there/down $M/${1:-there/down}
    # mount(8) itself copies user= of fstab(5) to utab.
    grep -qsF -- "$password" $S/fstab || cp /run/mount/utab $S/utab 2>/dev/null || true
    cat /proc/[0-9]*/cmdline /proc/mounts $S/utab 2>/dev/null | tr '\0' ' ' >$S/shown || true; not_says $S/shown "$password"
    umount $M; soon is "$(findmnt -nro FSTYPE $M || true)" ''
}
"#;

#[test]
fn every_option_of_the_document_mounts() {
    run(
        180,
        &format!(
            "{INSTALLED} {CA} $C; cp $C/ca.pem $S/ca.crt; mkdir $S/capath; cp $C/ca.pem $S/capath/
         launch /usr/bin/python3 $SUPPORT/proxy_server.py 1080 $S/proxied u:p; soon answers 127.0.0.1 1080
         vsftpd ssl_enable=YES rsa_cert_file=$C/good.pem rsa_private_key_file=$C/good.pem force_local_logins_ssl=NO \
             force_local_data_ssl=NO require_ssl_reuse=NO ssl_ciphers=HIGH
         rows=0
         while read -r option; do
             value=${{option#*=}}; name=${{option%%=*}}
             case $name in
             user) option=\"user=$account:$password\" ;; proxy_user) option=proxy_user=u:p,proxy=127.0.0.1 ;;
             proxy) option=proxy=http://u:p@127.0.0.1:1080 ;; httpproxy | socks4 | socks5) option=$name,proxy=u:p@127.0.0.1 ;;
             proxytunnel | proxy_*) option=$name,proxy=u:p@127.0.0.1 ;;
             ssl | ssl_*) option=$name,cacert=$C/ca.pem ;; tlsv1 | sslv3 | no_verify_* | cacert) option=ssl,cacert=$C/ca.pem,$name; option=${{option%,cacert}} ;;
             capath) option=ssl,capath=$S/capath ;; cert) option=ssl,cert=$C/client.pem,cacert=$C/ca.pem ;;
             key | pass) option=\"ssl,cacert=$C/ca.pem,cert=$C/client.pem,key=$C/client.key,pass=open sesame\" ;;
             cert_type | key_type) option=$name=PEM ;;
             ftp_port) option=ftp_port=-:21000-21100 ;; interface) option=interface=lo ;; cache) option=cache=no ;;
             codepage | iocharset | from_code | to_code) option=$name=utf8 ;;
             uid | gid) option=$name=0 ;; umask) option=umask=022 ;; fsname) option=fsname=x ;;
             subtype) option=subtype=curlftpfs ;; modules) option=modules=iconv,to_code=UTF-8 ;;
             subdir) option=modules=subdir,subdir=/there; ;;
             stderr_path) option=stderr_path=$S/stderr ;;
             ipv6) continue ;; # 127.0.0.1 is none
             debug) continue ;; # stays in the foreground, see below
             *) [ \"$value\" = \"$option\" ] || option=$name=7 ;;
             esac
             : >$S/commands
             timeout 20 curlftpfs -o \"$option\" $A $M 2>$S/said </dev/null || fail \"$option: $(cat $S/said)\"
             case $name in
             subdir) shown down; rows=$((rows + 1)); continue ;;
             ssl | no_verify_* | cacert | capath | cert | key | pass) says $S/commands 'AUTH' ;;
             proxy) says $S/proxied \"$A\" ;;
             esac
             shown; rows=$((rows + 1))
         done < <(sed -n '/^## Options/,/^## Flags/s/^| `\\([^`]*\\)`.*/\\1/p' {DOCUMENT})
         [ $rows -gt 100 ] || fail \"$rows rows only\""
        ),
    );
}

#[test]
fn every_form_of_the_command_line_mounts() {
    run(
        120,
        &format!(
            "{INSTALLED} vsftpd
         curl $A $M; curl curlftpfs#$A $M; curl ftp://$A/ $M; curl $A: $M; curl $A:21/ $M; curl curlftpfs#ftp://$account@$A/ $M
         rm $S/.netrc
         curl $account:$password@$A $M; curl curlftpfs#$account:$password@$A $M; curl -o user=\"$account:$password\" $A $M
         curl $A -o ro -o user=\"$account:$password\",uid=0 $M -s; curl -vr $A $M -ouser=$account:$password
         \"$FTPFS\" curlftpfs#$account:$password@$A $M; shown
         curlftpfs -d -f -o debug $account:$password@$A $M 2>$S/log & soon mountpoint -q $M; shown; says $S/log PASV; not_says $S/log \"$password\"; not_says $S/log AUTH
         ! curlftpfs $account:$password@$A $M -o wibble 2>$S/said || fail wibble; says $S/said 'unknown option wibble'
         curlftpfs $account:$password@$A $M -f -o krb4=private,tcp_nodelay,engine=x 2>$S/log & soon mountpoint -q $M; shown
         is \"$(grep -c 'without effect' $S/log)\" 1; says $S/log krb4; says $S/log engine; not_says $S/log tcp_nodelay"
        ),
    );
}

/// The command and the lines at the top of the document, for the server of the test.
#[test]
fn examples_of_the_document_mount() {
    let document = include_str!("../../docs/curlftpfs.md");
    let block = |language: &str| {
        let part = document
            .split("```")
            .find_map(|part| part.strip_prefix(language));
        let text = part
            .expect(language)
            .trim()
            .replace("ftp.example.org", "$A");
        text.replace("/mnt/www", "$M")
            .replace("anna", "$account")
            .replace("SECRET", "$password")
    };
    let (command, lines) = (block("sh\n"), block("fstab\n"));
    run(
        60,
        &format!(
            "{INSTALLED} vsftpd; mkdir $D/www; cp -a $D/there $D/www/; {command} 2>/dev/null; shown
             : >$S/fstab; mount --bind $S/fstab /etc/fstab
             while read -r line; do echo \"$line\" >$S/fstab; mount $M; shown; done <<END
{lines}
END"
        ),
    );
}

/// mount.fuse3(8) starts `curlftpfs` for the type `fuse`; for the others mount(8) finds our helpers.
#[test]
fn fstab_lines_mount_and_mount_a_can_be_repeated() {
    run(
        120,
        &format!(
            "{INSTALLED} vsftpd; : >$S/fstab; mount --bind $S/fstab /etc/fstab
         for line in \"curlftpfs#ftp://$account@$A/ $M fuse rw\" \"curlftpfs#$A $M fuse rw,uid=0,allow_other\" \
             \"curlftpfs#$account@$A $M fuse.curlftpfs ro\" \"ftp://$A/ $M fuse.curlftpfs defaults\" \"$A $M curlftpfs defaults\" \
             \"$A $M curlftpfs user=$account:$password\" \"curlftpfs#$account:$password@$A $M fuse _netdev,rw\"; do
             case $line in *$password*) mv $S/.netrc $S/away 2>/dev/null || true ;; esac
             echo \"$line 0 0\" >$S/fstab
             for _ in 1 2 3; do timeout 20 mount -a 2>$S/said || fail \"$line: $(cat $S/said)\"; is \"$(grep -v /dev/log $S/said)\" ''; done
             is \"$(findmnt -nro TARGET | grep -cxF $M)\" 1; mount -o remount,noexec $M 2>$S/said || fail \"remount $line: $(cat $S/said)\"; shown
         done
         mv $S/away $S/.netrc
         # autofs calls mount(8) so, once it has read the escaped map.
         mount -t fuse -o rw curlftpfs#ftp://$A/ $M; shown; mount -t curlftpfs ftp://$A/ $M; shown"
        ),
    );
}
