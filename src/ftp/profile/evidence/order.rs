//! Decides what a reply proves that does not fit its place: pipelined commands and early data.
//!
//! One such reply may be an accident. It ends the connection, since replies can't be matched to commands any more, and what
//! was believed of the order is tried again. The second one in a mount ends that kind of pipelining there, and so does one in a
//! trial: that is made of what shows the order for certain. After an upload one is enough: the next one could cost a file.

use crate::ftp::profile::{Learned, Profile, Support};

/// What is sent before earlier replies have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Several commands in one write.
    Commands,
    /// A command in one write with `RETR` or a listing.
    AfterDownload,
    /// Commands in one write with `STOR` or `APPE`.
    AfterUpload,
    /// The first bytes of an upload.
    EarlyData,
    /// A number that must come back after replies to `STAT`, which can hold file names that look like replies.
    StatMark,
}

/// The kinds of [`Order`].
pub const ORDERS: usize = 5;

/// What a reply ends that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The connection.
    Connection,
    /// This kind of pipelining, in this mount.
    Mount,
}

impl Order {
    /// What is believed of it, where that is stored.
    fn support(self, learned: &mut Learned) -> Option<&mut Support> {
        let pipelining = &mut learned.pipelining;
        Some(match self {
            Self::Commands => &mut pipelining.commands,
            Self::AfterDownload => &mut pipelining.after_download,
            Self::AfterUpload => &mut pipelining.after_upload,
            Self::EarlyData => &mut pipelining.early_data,
            Self::StatMark => return None,
        })
    }
}

impl Profile {
    /// Notes a reply that does not fit; returns what it ends.
    pub fn note_misfit(&self, order: Order) -> Misfit {
        let mut ends = Misfit::Connection;
        self.learn(|learned| {
            let seen = &mut learned.this_mount.pipelining_faults.misfits[order as usize];
            let is_second = std::mem::replace(seen, true);
            let support = order.support(learned);
            let believed = support.as_deref().copied();
            let after = match (order, believed) {
                (Order::Commands | Order::StatMark, _) if !is_second => return,
                // A harmless command, or a small file, shows it again.
                (Order::AfterDownload | Order::EarlyData, Some(Support::Yes)) if !is_second => {
                    Support::Unknown
                }
                _ => {
                    ends = Misfit::Mount;
                    Support::No
                }
            };
            if let Some(support) = support {
                *support = after;
            }
        });
        ends
    }

    /// Notes what a trial has shown.
    pub fn note_trial(&self, order: Order, in_order: Support) {
        if in_order.is_known() {
            self.learn(|learned| {
                if let Some(support) = order.support(learned) {
                    *support = in_order;
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_misfits() {
        use Misfit::{Connection, Mount};
        use Order::{AfterDownload, AfterUpload, Commands, EarlyData};
        use Support::{No, Unknown, Yes};
        // What was believed, what one reply that does not fit makes of it, and what another one does after a good trial.
        for (order, before, first, after_one) in [
            (Commands, Yes, Connection, Yes),
            (Commands, Unknown, Connection, Unknown),
            (AfterDownload, Yes, Connection, Unknown),
            (AfterUpload, Yes, Mount, No),
            (EarlyData, Yes, Connection, Unknown),
            (AfterDownload, Unknown, Mount, No),
            (AfterUpload, Unknown, Mount, No),
            (EarlyData, Unknown, Mount, No),
        ] {
            let profile = Profile::default();
            let support = || {
                let mut learned = profile.get();
                order.support(&mut learned).copied().unwrap_or_default()
            };
            profile.note_trial(order, before);
            assert_eq!(profile.note_misfit(order), first, "{order:?}");
            assert_eq!(support(), after_one, "{order:?}");
            profile.note_trial(order, Yes);
            assert_eq!(support(), Yes, "{order:?}");
            assert_eq!(profile.note_misfit(order), Mount);
            assert_eq!(support(), No, "{order:?}");
        }
        // Each kind counts alone.
        let profile = Profile::default();
        for order in [Commands, AfterDownload, EarlyData, Order::StatMark] {
            profile.note_trial(order, Yes);
            assert_eq!(profile.note_misfit(order), Connection);
        }
        assert_eq!(profile.note_misfit(Order::StatMark), Mount);
    }
}
