//! Generates shell completions: `ftpfs completions bash`, `zsh` or `fish`.
//!
//! They are generated from the table that the parser uses. After `-o` options are separated by
//! commas, and each shell has its own way to complete the last one.

use crate::cli::flags::{FLAGS, Flag, PROBE_FLAGS, STATUS_FLAGS};
use crate::cli::option_table::{Group, Kind, Spec, TABLE};
use crate::cli::settings::Settings;
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

/// Returns the values of an option that has a few words to choose from: its error lists them.
fn choices(spec: &Spec) -> Vec<String> {
    const NO_VALUE: &str = "\u{1}";
    let Kind::Value(set) = &spec.kind else {
        return Vec::new();
    };
    let allowed = set(&mut Settings::default(), NO_VALUE).err();
    let allowed = allowed.unwrap_or_default().replace(" or ", ", ");
    let words: Vec<String> = allowed.split(", ").map(str::to_string).collect();
    let are_values = words
        .iter()
        .all(|word| set(&mut Settings::default(), word).is_ok());
    if are_values { words } else { Vec::new() }
}

/// Whether the value of an option is the name of a file or a directory.
fn is_file(spec: &Spec) -> bool {
    matches!(spec.value, Some("FILE" | "PATH" | "DIRECTORY"))
}

/// The mountpoints of ftpfs in the mount table, for a shell.
const MOUNTPOINTS: &str =
    r#"awk '$3 ~ /^fuse\.(ftpfs|curlftpfs)$/ { print $2 }' /proc/self/mounts"#;

/// The lines of `case` for the values of options.
fn bash_values() -> String {
    let mut text = String::new();
    for spec in completed_options() {
        let words = choices(spec);
        if !words.is_empty() {
            let words = words.join(" ");
            text.push_str(&format!("        {}) words='{words}' ;;\n", spec.name));
        }
    }
    let files = completed_options().filter(|spec| is_file(spec));
    let files: Vec<_> = files.map(|spec| spec.name).collect();
    text + &format!("        {}) kind=-f ;;\n", files.join(" | "))
}

fn bash() -> String {
    let names = |flags: &'static [Flag]| {
        let words = flags
            .iter()
            .map(|flag| format!("-{} --{}", flag.short, flag.long));
        words.collect::<Vec<_>>().join(" ")
    };
    let options: Vec<_> = completed_options()
        .map(|spec| match spec.value {
            Some(_) => format!("{}=", spec.name),
            None => spec.name.to_string(),
        })
        .collect();
    let flags = SUBCOMMANDS
        .iter()
        .filter(|one| one.name != "mount")
        .map(|one| format!("        {}) flags='{}' ;;\n", one.name, names(one.flags)));
    format!(
        r#"# Completion of ftpfs for bash, as `ftpfs completions bash` prints it.
_ftpfs_options() {{
    # The list so far is $1; bash has split it at the = if $2 is "split".
    local option=${{1##*,}} words='' kind=''
    local before=${{1%"$option"}} name=${{option%%=*}} value=${{option#*=}}
    compopt -o nospace 2>/dev/null
    if [[ $option != *=* ]]; then
        mapfile -t COMPREPLY < <(compgen -P "$before" -W "{options}" -- "$option")
        return
    fi
    case $name in
{values}    esac
    before+=$name=
    [[ $2 != split ]] || before=
    if [[ -n $kind ]]; then
        mapfile -t COMPREPLY < <(compgen -P "$before" -f -- "$value")
    else
        mapfile -t COMPREPLY < <(compgen -P "$before" -W "$words" -- "$value")
    fi
}}
_ftpfs() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words=''
    local before=${{COMP_WORDS[COMP_CWORD-2]:-}} flags='{flags}'
    COMPREPLY=()
    if [[ $previous == -o || $previous == --options ]]; then
        _ftpfs_options "$current" whole
        return
    elif [[ $current == = && ( $before == -o || $before == --options ) ]]; then
        _ftpfs_options "$previous=" split
        return
    elif [[ $previous == = && ${{COMP_WORDS[COMP_CWORD-3]:-}} == -@(o|-options) ]]; then
        _ftpfs_options "$before=$current" split
        return
    fi
    case ${{COMP_WORDS[1]:-}} in
{flags_of}    esac
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$current")
        return
    fi
    if ((COMP_CWORD > 1)); then
        case ${{COMP_WORDS[1]}} in
        umount | unmount | status | drop-cache) words=$({mountpoints}) ;;
        completions) words='bash zsh fish' ;;
        esac
    else
        words='{words}'
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current"; [[ -n $words && $COMP_CWORD -gt 1 ]] || compgen -d -- "$current")
}}
complete -F _ftpfs ftpfs
"#,
        options = options.join(" "),
        values = bash_values(),
        flags = names(FLAGS),
        flags_of = flags.collect::<String>(),
        mountpoints = MOUNTPOINTS,
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
        let action = match choices(spec) {
            words if !words.is_empty() => format!("({})", words.join(" ")),
            _ if is_file(spec) => "_files".to_string(),
            _ => String::new(),
        };
        let value = spec
            .value
            .map(|value| format!(":{}:{action}", plain(value)));
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
    fn choices_are_what_the_option_takes() {
        let of = |name: &str| {
            let spec = TABLE.iter().find(|spec| spec.name == name);
            spec.map(choices).unwrap_or_default().join(" ")
        };
        assert_eq!(of("mode"), "auto passive active");
        assert_eq!(of("contain_symlinks"), "yes no");
        assert_eq!(of("tls"), "try explicit control off");
        for name in [
            "timeout",
            "cache_size",
            "metadata_cache_size",
            "uid",
            "external_ip",
            "ro",
            "cacert",
        ] {
            assert_eq!(of(name), "", "{name}");
        }
    }

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
