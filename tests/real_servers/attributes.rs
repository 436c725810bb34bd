//! Ordinary tools with all that they set on files, on servers that can store only a part of it: exit status 0, and what was
//! asked for is shown, before and after a remount.
//!
//! `cargo test --test real_servers attributes::`, and on the running servers `cargo test --test real_servers everyday_tools`.

use std::time::Duration;

use crate::mounted::Mounted;
use crate::namespace::run;

const LIMIT: u64 = 240;

/// A tree of foreign owners, set-group-ID directories, user attributes and parts of a second, and tools that copy it. Uses
/// $M, $S and the functions of the prelude.
const TOOLS: &str = r#"
look() {
    python3 - "$1" <<'PY'
import os, sys
os.chdir(sys.argv[1])
for place, names, files in os.walk('.'):
    names.sort()
    for name in ['.'] * (place == '.') + sorted(names + files):
        path = os.path.join(place, name)
        s = os.lstat(path)
        extended = {key: os.getxattr(path, key) for key in os.listxattr(path)}
        print(path, oct(s.st_mode), s.st_uid, s.st_gid, s.st_mtime_ns, extended)
PY
}
looks_alike() { diff <(look "$1") <(look "$2") >&2 || fail "$1 and $2 differ"; }
source_tree() {
    mkdir -p $S/src/{d/e,group}
    echo one >$S/src/a; echo two >$S/src/d/b; printf '#!/bin/sh\necho ran\n' >$S/src/d/e/run; echo three >$S/src/group/c
    chmod 600 $S/src/a; chmod 444 $S/src/d/b; chmod 755 $S/src/d/e/run; chown 1234:2345 $S/src/d/b; chown 0:77 $S/src/group
    chmod 2775 $S/src/group
    python3 -c 'import os; os.setxattr(os.environ["S"] + "/src/a", "user.origin", b"here")'
    touch -d '2001-02-03 04:05:06.789' $S/src/d/b; touch -d '2011-12-13 14:15:16.5' $S/src/d/e
    touch -d '2021-02-03 04:05:06.25' $S/src/group $S/src/d $S/src
    tar -C $S --format=pax --xattrs -cf $S/src.tar src
}
copying() {
    cp -a $S/src $M/cp; looks_alike $S/src $M/cp
    cp -a $S/src $S/moved; mv $S/moved $M/mv; looks_alike $S/src $M/mv
    tar -C $M --xattrs -xpf $S/src.tar; looks_alike $S/src $M/src; tar -C $M -df $S/src.tar
    rsync -aX --numeric-ids $S/src/ $M/rs/; looks_alike $S/src $M/rs
}
same_again() {
    local copy
    for copy in cp mv src rs; do looks_alike $S/src $M/$copy; done
    is "$(rsync -aXi --numeric-ids $S/src/ $M/rs/)" ''; tar -C $M -df $S/src.tar
}
working() {
    (cd $S/src && python3 -m zipfile -c $S/src.zip a d/ group/)
    mkdir $M/zip; (cd $M/zip && unzip -q $S/src.zip); is "$(cat $M/zip/d/e/run)" "$(cat $S/src/d/e/run)"
    export GIT_CONFIG_GLOBAL=$S/gitconfig
    git config --global user.name A; git config --global user.email a@b.c; git config --global safe.directory '*'
    git init -q $M/git; cp $S/src/d/e/run $M/git/run; echo text >$M/git/text
    git -C $M/git add -A; git -C $M/git commit -qm one
    git clone -q $M/git $M/clone; git -C $M/clone fsck --strict --no-progress
    is "$(git -C $M/git ls-files -s run | cut -c-6)" 100755
    sed -i s/text/words/ $M/git/text; is "$(cat $M/git/text)" words
    (cd $M/git && git diff >$S/change && git checkout -q text && patch -s -p1 <$S/change); is "$(cat $M/git/text)" words
    install -m 751 $S/src/d/e/run $M/installed; is "$(stat -c %a $M/installed)" 751
    mkdir $M/make; printf 'out: in\n\tcp in out; echo made\n' >$M/make/Makefile; echo in >$M/make/in
    make -s -C $M/make >$S/made; is "$(cat $S/made)" made
    wheel; install_wheel; used >$S/used; install_wheel --upgrade; used >$S/used
}
# A package as a wheel, with a module, data and a command.
wheel() {
    python3 - $S/greet-1.0-py3-none-any.whl <<'PY'
import sys, zipfile
files = {
    'greet/__init__.py': "from pathlib import Path\ndef main(): print((Path(__file__).parent / 'word').read_text())\n",
    'greet/word': 'hello',
    'greet-1.0.dist-info/METADATA': 'Metadata-Version: 2.1\nName: greet\nVersion: 1.0\n',
    'greet-1.0.dist-info/WHEEL': 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    'greet-1.0.dist-info/entry_points.txt': '[console_scripts]\ngreet = greet:main\n',
    'greet-1.0.dist-info/RECORD': '',
}
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
PY
}
install_wheel() {
    PIP_CONFIG_FILE=/dev/null PIP_ROOT_USER_ACTION=ignore /usr/bin/python3 -m pip --disable-pip-version-check install \
        --quiet --no-index --no-deps --no-cache-dir --target $M/packages "$@" $S/greet-1.0-py3-none-any.whl
}
# What the command prints, and the compiled module that it leaves as it is: pip compiled it, and the time in it is right.
used() {
    local before after
    before=$(look $M/packages/greet)
    is "$(PYTHONPATH=$M/packages $M/packages/bin/greet)" hello
    after=$(look $M/packages/greet)
    is "$after" "$before"; [[ $after == *.pyc* ]] || fail "nothing is compiled"
    echo "$after"
}
nothing_to_do() {
    is "$(used)" "$(cat $S/used)"
    is "$(git -C $M/clone status --porcelain)" ''; is "$(git -C $M/git status --porcelain)" ' M text'
    make -s -C $M/make >$S/made; is "$(cat $S/made)" ''; is "$(stat -c %a $M/installed)" 751
}
"#;

pub fn everyday_tools(m: &mut Mounted) {
    let limit = Duration::from_secs(LIMIT);
    m.sh_within(
        limit,
        &format!("{TOOLS}\nsource_tree; copying; same_again; working; nothing_to_do"),
    );
    m.remount();
    let again = "export GIT_CONFIG_GLOBAL=$S/gitconfig; same_again; nothing_to_do";
    m.sh_within(limit, &format!("{TOOLS}\n{again}"));
}

/// A server as `start` starts it.
fn tools_on(start: &str) {
    run(
        LIMIT,
        &format!(
            "{TOOLS}\n{start}\nmounts ''\nsource_tree; copying; same_again; working; nothing_to_do
            unmounts\nmounts ''\nsame_again; nothing_to_do; unmounts"
        ),
    );
}

#[test]
fn tools_work_on_vsftpd_without_chmod_and_times() {
    tools_on("vsftpd chmod_enable=NO mdtm_write=NO");
}

#[test]
fn tools_work_on_pure_ftpd_without_chmod() {
    tools_on("pure_ftpd -R");
}

/// Uploads of everybody: an upload gets no SITE CHMOD, and belongs to the server's user.
#[test]
fn tools_work_on_anonymous_vsftpd() {
    tools_on(
        "mkdir $D/up; chown $account: $D/up; chown root: $D; URL=ftp://anonymous@$A/up
        vsftpd anonymous_enable=YES no_anon_password=YES ftp_username=$account anon_root=$D anon_upload_enable=YES \\
            anon_mkdir_write_enable=YES anon_other_write_enable=YES anon_world_readable_only=NO anon_umask=022",
    );
}

/// The commands of BusyBox ftpd: listings to the minute, neither modes nor times.
#[test]
fn tools_work_with_the_commands_of_busybox() {
    tools_on("WITHOUT='MLSD,MLST,MFMT,EPRT,SITE CHMOD' pyftpdlib");
}

/// Those of uftpd, which neither renames nor appends.
#[test]
fn tools_work_with_the_commands_of_uftpd() {
    tools_on("WITHOUT='RNFR,RNTO,APPE,MFMT,SITE CHMOD' pyftpdlib");
}

/// The default configuration of most public servers that take uploads.
#[test]
fn tools_work_on_vsftpd_that_hides_what_others_may_read() {
    tools_on("vsftpd cmds_denied=SITE,MDTM,MFMT");
}

#[test]
fn trees_with_links_work_in_link_files() {
    let options = "mfsymlinks,contain_symlinks=no";
    run(
        LIMIT,
        &format!(
            "{TOOLS}\nvsftpd\nmounts '{options}'
            source_tree; ln -s d/b $S/src/link; ln -s group $S/src/directory; ln -s nowhere $S/src/d/dangling
            touch -hd '2001-02-03 04:05:06' $S/src/link; touch -d '2021-02-03 04:05:06.25' $S/src $S/src/d
            tar -C $S --format=pax --xattrs -cf $S/src.tar src
            copying; same_again; is \"$(cat $M/cp/link)\" two; is \"$(ls $M/cp/directory)\" c
            python3 -m venv --without-pip $M/venv
            is \"$($M/venv/bin/python -c 'import sys; print(sys.prefix)')\" $M/venv
            wheel; install_wheel; used >$S/used
            unmounts\nmounts '{options}'\nsame_again; is \"$(used)\" \"$(cat $S/used)\"
            is \"$($M/venv/bin/python -c 'import sys; print(sys.prefix)')\" $M/venv
            rm $M/cp/link; is \"$(cat $M/cp/d/b)\" two; unmounts"
        ),
    );
}
