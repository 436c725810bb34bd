//! A soak: sixteen processes of mixed work in two mounts, one with write-back, while the server is killed and started again
//! and the link is cut at random. In the end each byte is on the server's disk as it was written, and the mounts have not
//! grown.
//!
//! Half a minute for both servers by default; `scripts/soak MINUTES` runs it for longer (FTPFS_SOAK_SECONDS).

use crate::namespace::run;

const OUTAGES: &str = include_str!("../support/outages.sh");
const SOAK: &str = include_str!("../support/soak.sh");
/// Seconds of work on each server, unless more are wanted.
const SHORT: u64 = 15;
/// Seconds for what comes before and after the work.
const MARGIN: u64 = 240;

fn soak(server: &str) {
    let wanted = std::env::var("FTPFS_SOAK_SECONDS").ok();
    let seconds = wanted.map_or(SHORT, |text| text.parse().unwrap());
    let script = format!("{OUTAGES}\n{SOAK}\nsoak {server} {seconds}");
    let said = run(seconds + MARGIN, &script);
    println!("{said}");
}

#[test]
fn vsftpd_has_every_byte_after_a_soak() {
    soak("vsftpd");
}

#[test]
fn proftpd_has_every_byte_after_a_soak() {
    soak("proftpd");
}
