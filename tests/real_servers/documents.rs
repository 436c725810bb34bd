//! The examples of `docs/semantics.md` and `docs/servers.md`.

use crate::mounted::Mounted;
use crate::namespace::run;

const SEMANTICS: &str = include_str!("../../docs/semantics.md");
const SERVERS: &str = include_str!("../../docs/servers.md");

/// The blocks of a language in a document.
fn blocks(document: &'static str, language: &str) -> Vec<&'static str> {
    let parts = document.split("```").skip(1).step_by(2);
    let parts = parts.filter_map(|part| part.split_once('\n'));
    parts
        .filter(|(found, _)| *found == language)
        .map(|(_, text)| text)
        .collect()
}

/// Each block in a shell of its own, with the empty mountpoint as its directory. A line that begins with `!` has to fail.
pub fn examples_of_semantics(m: &mut Mounted) {
    let blocks = blocks(SEMANTICS, "sh");
    assert!(blocks.len() > 5, "{} blocks", blocks.len());
    for block in blocks {
        let lines = block.lines().map(|line| match line.strip_prefix("! ") {
            Some(command) => format!(
                "! {{ {command}; }} 2>/dev/null || fail 'it succeeded: {}'\n",
                command.replace('\'', "")
            ),
            None => format!("{line}\n"),
        });
        let script: String = lines.collect();
        m.sh(&format!("cd $M; (\n{script})\nrm -rf ./*"));
    }
}

/// The settings for administrators are ones that the servers take, and that a mount works with.
#[test]
fn settings_for_servers_work() {
    let blocks = blocks(SERVERS, "conf");
    let [vsftpd, proftpd] = blocks[..] else {
        panic!("{} blocks", blocks.len());
    };
    for (server, settings) in [("vsftpd", vsftpd), ("proftpd", proftpd)] {
        let settings: String = settings.lines().map(|line| format!(" '{line}'")).collect();
        run(
            60,
            &format!(
                "{server}{settings}; mounts ''; copies; printf more >>$M/there/down; is \"$(tail -c 4 $D/there/down)\" more; unmounts
                 grep -qE '229 .*\\|\\|\\|50(0[0-9][0-9]|100)\\|' $S/log || fail 'other passive ports'"
            ),
        );
    }
}
