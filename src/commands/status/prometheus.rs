//! Formats the status of mounts in the text format of Prometheus, for the textfile collector of node_exporter.
//!
//! Counters count since the mount and end in `_total`; the others are gauges. Labels: `mountpoint` and `source`.

use serde_json::Value;

/// A metric: its name, type, help, and where its value is in the JSON of a mount.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    path: &'static str,
}

const fn gauge(name: &'static str, help: &'static str, path: &'static str) -> Metric {
    let kind = "gauge";
    Metric {
        name,
        kind,
        help,
        path,
    }
}

const fn counter(name: &'static str, help: &'static str, path: &'static str) -> Metric {
    let kind = "counter";
    Metric {
        name,
        kind,
        help,
        path,
    }
}

const METRICS: [Metric; 14] = [
    gauge(
        "ftpfs_mount_time_seconds",
        "Time of the mount, in seconds since 1970.",
        "/since",
    ),
    gauge(
        "ftpfs_connections",
        "Open control connections.",
        "/connections/open",
    ),
    gauge(
        "ftpfs_connections_limit",
        "Control connections at most.",
        "/connections/limit",
    ),
    gauge(
        "ftpfs_waiting_requests",
        "Requests that wait for a connection.",
        "/connections/waiting",
    ),
    gauge(
        "ftpfs_server_away_seconds",
        "How long the server has been away; 0 where it answers.",
        "/connections/away",
    ),
    gauge(
        "ftpfs_round_trip_microseconds",
        "Round-trip time of a control connection.",
        "/connections/round_trip_us",
    ),
    counter(
        "ftpfs_received_bytes_total",
        "Bytes received on data connections.",
        "/traffic/received/bytes",
    ),
    counter(
        "ftpfs_sent_bytes_total",
        "Bytes sent on data connections.",
        "/traffic/sent/bytes",
    ),
    counter(
        "ftpfs_reads_from_memory_total",
        "Reads answered from memory.",
        "/reads/from_memory",
    ),
    counter(
        "ftpfs_reads_waited_total",
        "Reads that waited for the server.",
        "/reads/waited",
    ),
    gauge("ftpfs_cache_bytes", "File data in memory.", "/memory/bytes"),
    gauge("ftpfs_open_files", "Open files and directories.", "/open"),
    gauge(
        "ftpfs_pending_files",
        "Closed files that are not stored yet.",
        "/unsent/files",
    ),
    gauge(
        "ftpfs_pending_bytes",
        "Bytes of these files.",
        "/unsent/bytes",
    ),
];

/// Formats the mounts: mountpoint, and the status in JSON or `None` where the mount does not answer.
pub fn format(mounts: &[(String, Option<Value>)]) -> String {
    let mut text = head("ftpfs_up", "gauge", "Whether the mount answers.");
    for (mountpoint, status) in mounts {
        let up = u64::from(status.is_some());
        text.push_str(&sample("ftpfs_up", mountpoint, status.as_ref(), up));
    }
    for metric in METRICS {
        text.push_str(&head(metric.name, metric.kind, metric.help));
        for (mountpoint, status) in mounts {
            let Some(status) = status else { continue };
            let value = status.pointer(metric.path).and_then(Value::as_u64);
            let value = value.unwrap_or_default();
            text.push_str(&sample(metric.name, mountpoint, Some(status), value));
        }
    }
    text
}

fn head(name: &str, kind: &str, help: &str) -> String {
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")
}

fn sample(name: &str, mountpoint: &str, status: Option<&Value>, value: u64) -> String {
    let source = status.and_then(|status| status.pointer("/source")?.as_str());
    let (mountpoint, source) = (label(mountpoint), label(source.unwrap_or_default()));
    format!("{name}{{mountpoint=\"{mountpoint}\",source=\"{source}\"}} {value}\n")
}

/// Escapes the value of a label.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mount_has_a_sample_of_each_metric() {
        let status = serde_json::json!({
            "source": "ftp://u@h/a\"b", "connections": {"open": 3, "away": null},
            "traffic": {"received": {"bytes": 7}},
        });
        let text = format(&[
            ("/m\\n".to_string(), Some(status)),
            ("/x".to_string(), None),
        ]);
        let labels = r#"{mountpoint="/m\\n",source="ftp://u@h/a\"b"}"#;
        for line in [
            format!("ftpfs_up{labels} 1\n"),
            "ftpfs_up{mountpoint=\"/x\",source=\"\"} 0\n".to_string(),
            format!("# TYPE ftpfs_connections gauge\nftpfs_connections{labels} 3\n"),
            format!(
                "# TYPE ftpfs_received_bytes_total counter\nftpfs_received_bytes_total{labels} 7\n"
            ),
            format!("ftpfs_server_away_seconds{labels} 0\n"),
        ] {
            assert!(text.contains(&line), "{line}: {text}");
        }
    }
}
