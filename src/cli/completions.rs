//! Generates shell completions: `ftpfs completions bash`, `zsh` or `fish`.
//!
//! They are generated from the table that the parser uses. After `-o` options are separated by
//! commas, and each shell has its own way to complete the last one.

use crate::cli::option_table::{FLAGS, Flag, Group, PROBE_FLAGS, STATUS_FLAGS, Spec, TABLE};
use crate::cli::subcommand::SUBCOMMANDS;

/// Returns the script for a shell, or `None` for an unknown one.
pub fn completions(shell: &str) -> Option<String> {
    match shell {
        "bash" => Some(bash()),
        "zsh" => Some(zsh()),
        "fish" => Some(fish()),
        _ => None,
    }
}

/// Returns the options to complete.
fn completed_options() -> impl Iterator<Item = &'static Spec> {
    TABLE.iter().filter(|spec| spec.group != Group::Ignored)
}

/// Returns the flags that `ftpfs SOURCE MOUNTPOINT` does not have.
fn not_for_mount(flags: &'static [Flag]) -> impl Iterator<Item = &'static Flag> {
    flags
        .iter()
        .filter(|flag| FLAGS.iter().all(|other| other.long != flag.long))
}

fn only_probe() -> impl Iterator<Item = &'static Flag> {
    not_for_mount(PROBE_FLAGS)
}

fn only_status() -> impl Iterator<Item = &'static Flag> {
    not_for_mount(STATUS_FLAGS)
}

fn bash() -> String {
    let names = |flags: &mut dyn Iterator<Item = &'static Flag>| {
        let words = flags.map(|flag| format!("-{} --{}", flag.short, flag.long));
        words.collect::<Vec<_>>().join(" ")
    };
    let options: Vec<_> = completed_options()
        .map(|spec| match spec.value {
            Some(_) => format!("{}=", spec.name),
            None => spec.name.to_string(),
        })
        .collect();
    format!(
        r#"# Completion of ftpfs for bash, as `ftpfs completions bash` prints it.
_ftpfs() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} before=
    COMPREPLY=()
    case $previous in
    -o | --options)
        [[ $current == *,* ]] && before=${{current%,*}},
        compopt -o nospace 2>/dev/null
        COMPREPLY=($(compgen -P "$before" -W "{options}" -- "${{current##*,}}"))
        return
        ;;
    esac
    if [[ $current == -* ]]; then
        local flags="{flags}"
        [[ ${{COMP_WORDS[1]}} == probe ]] && flags+=" {probe}"
        [[ ${{COMP_WORDS[1]}} == status ]] && flags+=" {status}"
        COMPREPLY=($(compgen -W "$flags" -- "$current"))
        return
    fi
    COMPREPLY=($(compgen -d -- "$current"))
    if ((COMP_CWORD == 1)); then
        COMPREPLY+=($(compgen -W "{words}" -- "$current"))
    fi
}}
complete -F _ftpfs ftpfs
"#,
        options = options.join(" "),
        flags = names(&mut FLAGS.iter()),
        probe = names(&mut only_probe()),
        status = names(&mut only_status()),
        words = SUBCOMMANDS.map(|one| one.name).join(" "),
    )
}

fn zsh() -> String {
    let quoted = |text: &str| text.replace('\'', "'\\''");
    // These separate the fields of _arguments and _values.
    let plain = |text: &str| {
        let escaped = text
            .replace('[', "\\[")
            .replace(']', "\\]")
            .replace(':', "\\:");
        quoted(&escaped)
    };
    let mut text = String::from("#compdef ftpfs\nlocal -a options\noptions=(\n");
    for spec in completed_options() {
        let value = spec.value.map(|value| format!(":{}:", plain(value)));
        let value = value.unwrap_or_default();
        text.push_str(&format!("  '{}[{}]{value}'\n", spec.name, plain(spec.help)));
    }
    text.push_str(")\n_arguments \\\n");
    for flag in FLAGS.iter().chain(only_probe()) {
        let (short, long, help) = (flag.short, flag.long, plain(flag.help));
        text.push_str(&match flag.value {
            Some(_) => format!(
                "  '*'{{-{short},--{long}}}'[{help}]:options:_values -s , option $options' \\\n"
            ),
            None => format!("  '(-{short} --{long})'{{-{short},--{long}}}'[{help}]' \\\n"),
        });
    }
    let words = SUBCOMMANDS.map(|one| one.name).join(" ");
    text.push_str(&format!(
        "  '1:source:({words})' \\\n  '2:mountpoint:_files -/'\n"
    ));
    text
}

fn fish() -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let mut text = String::from("function __ftpfs_options\n");
    for spec in completed_options() {
        let equals = if spec.value.is_some() { "=" } else { "" };
        let help = quoted(spec.help);
        text.push_str(&format!(
            "    printf '%s\\t%s\\n' {}{equals} '{help}'\n",
            spec.name
        ));
    }
    text.push_str("end\n");
    let flag = |flag: &Flag, when: &str| {
        let (short, long, help) = (flag.short, flag.long, quoted(flag.help));
        let value = match flag.value {
            Some(_) => " -x -a '(__fish_complete_list , __ftpfs_options)'",
            None => "",
        };
        format!("complete -c ftpfs{when} -s {short} -l {long} -d '{help}'{value}\n")
    };
    for one in FLAGS {
        text.push_str(&flag(one, ""));
    }
    for one in only_probe() {
        text.push_str(&flag(one, " -n '__fish_seen_subcommand_from probe'"));
    }
    for one in only_status() {
        text.push_str(&flag(one, " -n '__fish_seen_subcommand_from status'"));
    }
    for (word, help) in SUBCOMMANDS.map(|one| (one.name, one.about)) {
        text.push_str(&format!(
            "complete -c ftpfs -n __fish_use_subcommand -a {word} -d '{help}'\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_completes_every_option_and_flag() {
        for shell in ["bash", "zsh", "fish"] {
            let script = completions(shell).expect(shell);
            for spec in completed_options() {
                assert!(script.contains(spec.name), "{shell}: {}", spec.name);
            }
            for flag in FLAGS.iter().chain(PROBE_FLAGS) {
                assert!(script.contains(flag.long), "{shell}: {}", flag.long);
            }
            for word in SUBCOMMANDS.map(|one| one.name) {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
        assert_eq!(completions("csh"), None);
    }
}
