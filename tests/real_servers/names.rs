//! Names are bytes: each kind of difficult name goes through all that can be done with one, as a file and as a directory.

use crate::mounted::Mounted;

pub fn names_inner_blanks(m: &mut Mounted) {
    round_trip(m, &["a b", "two  blanks", "a - b -> c", "1 jan 2020 x"]);
}

pub fn names_leading_blanks(m: &mut Mounted) {
    round_trip(m, &[" a", "   b"]);
}

pub fn names_trailing_blanks(m: &mut Mounted) {
    round_trip(m, &["a ", "  b  "]);
}

pub fn names_only_blanks(m: &mut Mounted) {
    round_trip(m, &[" ", "   "]);
}

pub fn names_quotes(m: &mut Mounted) {
    round_trip(m, &["'", "it's", "\"", "a\"b\"\"c", "`x`"]);
}

pub fn names_hash_percent(m: &mut Mounted) {
    round_trip(
        m,
        &[
            "#", "a#b", "%", "%41", "%2F", "100%", "a&b=c?d", "a+b", "a:b@c",
        ],
    );
}

pub fn names_backslash(m: &mut Mounted) {
    round_trip(m, &["\\", "a\\b", "a\\", "C:\\x"]);
}

pub fn names_brackets(m: &mut Mounted) {
    round_trip(m, &["[", "[ ]", "[abc]", "{a,b}", "(x)", "<y>"]);
}

pub fn names_star_question(m: &mut Mounted) {
    file_round_trip(m, &["*", "a*", "?", "a?b", "[!a]*"]);
    directory_round_trip(m, &["?", "a?b"]);
}

pub fn names_star_directory(m: &mut Mounted) {
    directory_round_trip(m, &["*", "a*b"]);
}

pub fn names_utf8(m: &mut Mounted) {
    round_trip(
        m,
        &["ü", "日本語", "naïve café", "e\u{301}", "😀", "\u{a0}"],
    );
}

pub fn names_dash_tilde(m: &mut Mounted) {
    round_trip(
        m,
        &[
            "-", "-la", "--help", "~", "~root", "$HOME", "a|b", "!", "...", ".a", "a.", "a;b",
        ],
    );
}

/// Names that look like parts of a listing or of a fact line.
pub fn names_like_facts(m: &mut Mounted) {
    round_trip(
        m,
        &[
            "type=dir; x",
            "total 5",
            "a -> b",
            "226 Done",
            "drwxr-xr-x 2 a b 1 Jan 1 2020 c",
            ". x",
            "..x",
        ],
    );
}

pub fn names_long(m: &mut Mounted) {
    round_trip(m, &["n".repeat(255).as_str(), "ü".repeat(120).as_str()]);
    m.sh("deep=$M; for n in {1..20}; do deep=$deep/$n-dddddddddddddddddddd; done; mkdir -p $deep; echo x >$deep/f
          is \"$(cat $deep/f)\" x; same $M $D; rm -r $M/1-*; is \"$(ls $D)\" ''");
}

/// They would end one command and begin another.
pub fn names_with_line_ends(m: &mut Mounted) {
    m.sh("echo x >$M/f
          python3 - <<'PY'
import errno, os
M = os.environ['M'].encode() + b'/'
for name in (b'a\\rb', b'a\\nb', b'x\\r\\nDELE f', b'\\r', b'\\n', b'f\\n'):
    for act in (lambda p: open(p, 'w'), os.mkdir, lambda p: os.rename(M + b'f', p)):
        try: act(M + name)
        except OSError as e: assert e.errno == errno.EINVAL, (name, e)
        else: raise AssertionError(name)
    assert not os.path.exists(M + name)
PY
          is \"$(ls -A $D)\" f; is \"$(cat $M/f)\" x");
}

/// Names that are not UTF-8 are kept as they are, or refused: none becomes another one.
pub fn names_not_utf8(m: &mut Mounted) {
    let refuses = if m.server.name == "pyftpdlib" {
        "True"
    } else {
        "False"
    };
    m.sh(&format!(
        "REFUSES={refuses} python3 - <<'PY'
import errno, os
M, D = [os.environ[name].encode() + b'/' for name in 'MD']
taken, refused = {{}}, []
def attempt(name, act):
    try: act(name)
    except OSError as error:
        assert error.errno == errno.EILSEQ, (name, error)
        refused.append(name)
    else: taken[name] = act
def store(name):
    with open(M + name, 'wb') as file: file.write(name)
def move(name):
    with open(M + b'plain', 'wb') as file: file.write(name)
    os.rename(M + b'plain', M + name)
for name in (b'a\\xfe b', b'a\\xfd b', b'c\\xff', b'c\\xff\\xff', b'\\xe4'): attempt(name, store)
for name in (b'd\\xfe', b'd\\xfd'): attempt(name, lambda name: os.mkdir(M + name))
for name in (b'm\\xfe', b'm\\xfd'): attempt(name, move)
assert bool(refused) == ({refuses}), refused
assert not (refused and taken), (refused, taken)
ours = {{name for name in os.listdir(D) if name != b'plain'}}
assert ours == set(taken), (ours, taken)
for name, act in taken.items():
    if os.path.isfile(D + name): assert open(D + name, 'rb').read() == name, name
PY"
    ));
}

fn round_trip(m: &mut Mounted, names: &[&str]) {
    file_round_trip(m, names);
    directory_round_trip(m, names);
}

fn file_round_trip(m: &mut Mounted, names: &[&str]) {
    each(
        m,
        names,
        "printf one >$S/one; cp $S/one $M/$n; is \"$(cat $D/$n)\" one; printf two >>$M/$n; is \"$(cat $D/$n)\" onetwo
         is \"$(cat $M/$n)\" onetwo; chmod 600 $M/$n; is \"$(stat -c %a $D/$n $M/$n | xargs)\" '600 600'
         touch -d @1000000000 $M/$n; is \"$(stat -c %Y $D/$n $M/$n | xargs)\" '1000000000 1000000000'
         mv $M/$n $M/plain; is \"$(cat $D/plain)\" onetwo; gone $M/$n $D/$n; mv $M/plain $M/$n; is \"$(cat $D/$n)\" onetwo
         truncate -s 3 $M/$n; is \"$(cat $D/$n)\" one; listed",
    );
    m.remount();
    each(
        m,
        names,
        "listed; is \"$(cat $M/$n)\" one; rm $M/$n; gone $M/$n $D/$n",
    );
}

fn directory_round_trip(m: &mut Mounted, names: &[&str]) {
    each(
        m,
        names,
        "mkdir $M/$n; echo x >$M/$n/f; is \"$(cat $D/$n/f)\" x; is \"$(ls $M/$n)\" f; mkdir $M/$n/d
         mv $M/$n $M/plain; is \"$(cat $D/plain/f)\" x; mv $M/plain $M/$n; is \"$(cat $D/$n/f)\" x
         chmod 700 $M/$n; is \"$(stat -c %a $D/$n)\" 700; echo y >$D/$n/theirs; theirs; listed",
    );
    m.remount();
    each(
        m,
        names,
        "listed; is \"$(ls $M/$n | xargs)\" 'd f theirs'; is \"$(cat $M/$n/theirs)\" y; rm -r $M/$n; gone $M/$n $D/$n",
    );
}

/// Runs `body` for each name, as `$n`, with word splitting and patterns off so that it may stand unquoted.
fn each(m: &mut Mounted, names: &[&str], body: &str) {
    for name in names {
        let quoted = name.replace('\'', r"'\''");
        m.sh(&format!(
            "IFS=; set -f; listed() {{ ls -A $M >$S/ls; grep -qxF -e $n $S/ls || fail \"not in the listing: $(cat $S/ls)\"; }}
             n='{quoted}'; {body}"
        ));
    }
}

/// Names made of the words by which replies are judged: a server that repeats a name does not say them.
pub fn names_like_reasons(m: &mut Mounted) {
    m.sh(
        "for word in busy a.busy-1 quota 'disk full' 'no space' 'permission denied' denied exists 'not empty' 'is a directory' \
             'not a directory' 'no such' 'not found' 'too long' locked PORT; do
             mkdir \"$M/$word\"; cd \"$M/$word\"
             gone absent; gone \"$word\"; refuses stat -- \"$word\"; grep -q 'No such file' $S/why
             echo one >f; (set -C; echo two >\"$word\"); ! (set -C; echo three >\"$word\") 2>$S/why || fail three; grep -q 'cannot overwrite existing file' $S/why
             refuses mkdir f; grep -q 'File exists' $S/why
             is \"$(cat \"$word\")\" two; echo four >>\"$word\"; is \"$(xargs <\"$word\")\" 'two four'
             mkdir \"d $word\"; refuses rmdir nothing; grep -q 'No such file' $S/why
             echo x >\"d $word/x\"; refuses rmdir \"d $word\"; grep -q 'not empty' $S/why; rm \"d $word/x\"; rmdir \"d $word\"
             mv \"$word\" \"$word.new\"; mv -T \"$word.new\" f; is \"$(xargs <f)\" 'two four'; rm f
             refuses rm absent; grep -q 'No such file' $S/why
             sqlite3 a.db 'create table t (x); insert into t values (7)'; is \"$(sqlite3 a.db 'select x from t')\" 7; rm a.db
             cd $M; rmdir \"$word\"
         done",
    );
}
