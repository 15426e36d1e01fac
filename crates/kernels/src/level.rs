//! Which instructions the kernels use.
//!
//! The best that the processor has, unless [`limit`] was called once at the start of the program, as the command does for `STILLHOUSE_CPU`.

use std::sync::atomic::{AtomicU8, Ordering};

use pulp::Arch;

/// A set of instructions, with all that it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every processor of the architecture has (NEON counts as plain).
    Plain,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL, and BF16 where it is there.
    Avx512,
}

impl Level {
    /// By the name that `STILLHOUSE_CPU` takes: `plain`, `avx2` or `avx512`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "plain" => Some(Self::Plain),
            "avx2" => Some(Self::Avx2),
            "avx512" => Some(Self::Avx512),
            _ => None,
        }
    }
}

static LIMIT: AtomicU8 = AtomicU8::new(Level::Avx512 as u8);

/// From now on kernels use nothing above `level`.
///
/// To be called before the first kernel: a limit that changes between the passes of one step gives sums in another order.
pub fn limit(level: Level) {
    LIMIT.store(level as u8, Ordering::Relaxed);
}

/// What kernels use: the limit, or less where the processor has less.
#[must_use]
pub fn level() -> Level {
    let limit = match LIMIT.load(Ordering::Relaxed) {
        0 => Level::Plain,
        1 => Level::Avx2,
        _ => Level::Avx512,
    };
    limit.min(detected())
}

/// The same for kernels that are written in vectors of any width.
#[must_use]
pub fn arch() -> Arch {
    #[cfg(target_arch = "x86_64")]
    match level() {
        Level::Plain => return Arch::Scalar,
        Level::Avx2 => return pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3),
        Level::Avx512 => {}
    }
    Arch::new()
}

#[cfg(target_arch = "x86_64")]
fn detected() -> Level {
    if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
        return Level::Plain;
    }
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
    {
        Level::Avx512
    } else {
        Level::Avx2
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected() -> Level {
    Level::Plain
}
