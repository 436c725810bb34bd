//! A long line between two network namespaces, for `scripts/bench`: packets arrive late, and no faster than the rate.
//!
//! Each end is a TUN device, and two threads a direction carry what one device sends to the other: a reader that stamps
//! each packet with the time at which it is due, and a writer that waits for that time. Where the kernel has no netem this
//! gives TCP its real round trips.
//!
//! `wan PID ROUND_TRIP_MS MBITS QUEUE`: one device, `wan0`, in our namespace, the other in that of the process PID; QUEUE
//! packets a direction wait at most, what comes on top is lost; MBITS counts the bytes of IP packets, 0 is no limit. It
//! says `up` when both devices are there and then runs until it is killed. For each line on its standard input it prints
//! how many bytes of IP packets have gone over it in both directions, and how many round trips of control connections:
//! connections made, and flights of commands after a reply.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that a packet has at most: the devices keep the usual 1500.
const LARGEST: usize = 2048;
/// The port of control connections.
const CONTROL_PORT: u16 = 21;
/// The protocol number of TCP in a header of IPv4.
const TCP: u8 = 6;
/// The flag of the first segment of a connection.
const SYN: u8 = 2;
/// Nanoseconds that a sleep may be late: packets come every 60 microseconds.
const SLACK: libc::c_ulong = 1;

fn main() -> io::Result<()> {
    let usage = || io::Error::other("usage: wan PID ROUND_TRIP_MS MBITS QUEUE");
    let words: Vec<f64> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .map(|word| word.parse().map_err(|_| usage()))
        .collect::<io::Result<_>>()?;
    let [pid, round_trip, rate, queue] = words[..] else {
        return Err(usage());
    };
    // SAFETY: takes and returns numbers only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, SLACK) };
    let here = device()?;
    let there = thread::spawn(move || {
        enter(pid as u32)?;
        device()
    })
    .join()
    .map_err(|_| io::Error::other("a thread ended"))??;
    let delay = Duration::from_secs_f64(round_trip / 2000.0);
    let seconds_per_byte = if rate > 0.0 { 8e-6 / rate } else { 0.0 };
    let counts = Arc::<Mutex<Counts>>::default();
    let directions = [(&here, &there), (&there, &here)];
    let mut threads = Vec::new();
    for (from, to) in directions {
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        let (sender, receiver) = sync_channel(queue as usize);
        let counts = Arc::clone(&counts);
        threads.push(thread::spawn(move || {
            take(from, &sender, (delay, seconds_per_byte), &counts)
        }));
        threads.push(thread::spawn(move || give(to, &receiver)));
    }
    println!("up");
    for line in io::stdin().lock().lines() {
        line?;
        if let Ok(counts) = counts.lock() {
            println!("{} {}", counts.bytes, counts.turns);
        }
    }
    for thread in threads {
        thread
            .join()
            .map_err(|_| io::Error::other("a thread ended"))??;
    }
    Ok(())
}

type Late = (Instant, Vec<u8>);

/// What has gone over the line.
#[derive(Default)]
struct Counts {
    /// Bytes of IP packets.
    bytes: u64,
    /// Round trips of control connections.
    turns: u64,
    /// Whether the server has spoken since the client did, by the client's port.
    replied: HashMap<u16, bool>,
}

impl Counts {
    fn add(&mut self, packet: &[u8]) {
        self.bytes += packet.len() as u64;
        let header = usize::from(packet[0] & 15) * 4;
        if packet[0] >> 4 != 4 || packet.len() < header + 20 || packet[9] != TCP {
            return;
        }
        let tcp = &packet[header..];
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let has_data = tcp.len() > usize::from(tcp[12] >> 4) * 4;
        match (port(0), port(2)) {
            (client, CONTROL_PORT) if tcp[13] & SYN != 0 => {
                self.turns += 1;
                self.replied.insert(client, false);
            }
            (client, CONTROL_PORT) if has_data => {
                self.turns += u64::from(self.replied.insert(client, false) == Some(true));
            }
            (CONTROL_PORT, client) if has_data => {
                self.replied.insert(client, true);
            }
            _ => {}
        }
    }
}

/// Reads packets and stamps them. The line is busy until the last one has gone over it.
fn take(
    mut device: File,
    line: &SyncSender<Late>,
    (delay, seconds_per_byte): (Duration, f64),
    counts: &Mutex<Counts>,
) -> io::Result<()> {
    let mut packet = [0; LARGEST];
    let mut busy = Instant::now();
    loop {
        let length = device.read(&mut packet)?;
        if let Ok(mut counts) = counts.lock() {
            counts.add(&packet[..length]);
        }
        let gone =
            busy.max(Instant::now()) + Duration::from_secs_f64(length as f64 * seconds_per_byte);
        if line
            .try_send((gone + delay, packet[..length].to_vec()))
            .is_ok()
        {
            busy = gone;
        }
    }
}

/// Writes packets when they are due.
fn give(mut device: File, line: &Receiver<Late>) -> io::Result<()> {
    for (due, packet) in line {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // A device that is not up yet refuses packets; the kernel sends those that matter again.
        let _ = device.write(&packet);
    }
    Ok(())
}

/// A new TUN device, `wan0`, in the namespace of this thread. It ends with its file.
fn device() -> io::Result<File> {
    let device = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    // SAFETY: all zeros is a valid `ifreq`, and the kernel reads one from the address that it is given.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"wan0") {
            *to = *from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        if libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &request) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(device)
}

/// Moves this thread into the network namespace of a process.
fn enter(pid: u32) -> io::Result<()> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    // SAFETY: takes and returns numbers only.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
