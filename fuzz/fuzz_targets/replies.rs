//! Any bytes as replies.
//!
//! Beyond the absence of panics: a reply has a code that there is and no more lines than came,
//! what is shown of it is short and has no control characters.

#![no_main]

use ftpfs::ftp::protocol::reply::{Collector, quoted_path};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut collector = Collector::default();
    let mut came = 0;
    for line in bytes.split(|&byte| byte == b'\n') {
        came += 1;
        match collector.line(line) {
            Ok(None) => {}
            Ok(Some(reply)) => {
                assert!((100..600).contains(&reply.code));
                assert!(!reply.lines.is_empty() && reply.lines.len() <= came);
                assert!(reply.text().chars().count() <= 300);
                assert!(!reply.to_string().contains(char::is_control));
                let _ = reply.why("a test");
                let _ = reply.refusal("a test").to_string();
                for line in &reply.lines {
                    let path = quoted_path(line);
                    assert!(path.is_none_or(|path| path.len() + 2 <= line.len()));
                }
                came = 0;
            }
            Err(what) => {
                assert!(!what.contains(char::is_control));
                collector = Collector::default();
                came = 0;
            }
        }
    }
});
