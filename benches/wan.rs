//! A long line between two network namespaces, for `scripts/bench`: packets arrive late, and no faster than the rate.
//!
//! The one idea: each end is a TUN device, and two threads a direction carry what one device sends to the other: a
//! reader that stamps each packet with the time at which it is due, and a writer that waits for that time. Where the
//! kernel has no netem this gives TCP its real round trips.
//!
//! `wan PID ROUND_TRIP_MS MBITS QUEUE`: one device, `wan0`, in our namespace, the other in that of the process PID; QUEUE
//! packets a direction wait at most, what comes on top is lost; MBITS counts the bytes of IP packets, 0 is no limit. It
//! says `up` when both devices are there and then runs until it is killed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that a packet has at most: the devices keep the usual 1500.
const LARGEST: usize = 2048;
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
    let directions = [(&here, &there), (&there, &here)];
    let mut threads = Vec::new();
    for (from, to) in directions {
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        let (sender, receiver) = sync_channel(queue as usize);
        threads.push(thread::spawn(move || {
            take(from, &sender, delay, seconds_per_byte)
        }));
        threads.push(thread::spawn(move || give(to, &receiver)));
    }
    println!("up");
    for thread in threads {
        thread
            .join()
            .map_err(|_| io::Error::other("a thread ended"))??;
    }
    Ok(())
}

type Late = (Instant, Vec<u8>);

/// Reads packets and stamps them. The line is busy until the last one has gone over it.
fn take(
    mut device: File,
    line: &SyncSender<Late>,
    delay: Duration,
    seconds_per_byte: f64,
) -> io::Result<()> {
    let mut packet = [0; LARGEST];
    let mut busy = Instant::now();
    loop {
        let length = device.read(&mut packet)?;
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
