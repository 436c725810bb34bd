//! The examples of `docs/semantics.md`.

use crate::mounted::Mounted;

const SEMANTICS: &str = include_str!("../../docs/semantics.md");

/// Each block in a shell of its own, with the empty mountpoint as its directory. A line that begins with `!` has to fail.
pub fn examples_of_semantics(m: &mut Mounted) {
    let blocks: Vec<&str> = SEMANTICS
        .split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix("sh\n"))
        .collect();
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
