//! What this machine's processor can do, as far as our kernels care.

pub use stillhouse_kernels::level::{Level, level, limit};

/// An instruction set that a kernel may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstructionSet {
    /// As its maker calls it.
    pub name: &'static str,
    /// Whether this processor has it.
    pub is_present: bool,
}

/// The processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// The architecture this program was built for: `x86_64`, `aarch64`.
    pub architecture: &'static str,
    /// Threads that run at once; 1 when the system does not say.
    pub n_threads: usize,
    /// The instruction sets that matter on this architecture, present or not.
    pub instruction_sets: Vec<InstructionSet>,
}

impl Cpu {
    /// The names of the instruction sets that are there.
    pub fn present(&self) -> impl Iterator<Item = &'static str> {
        self.instruction_sets
            .iter()
            .filter(|set| set.is_present)
            .map(|set| set.name)
    }

    /// The path that our kernels take: "AVX-512", "AVX2", "NEON" or "plain", and
    /// none above the [`limit`].
    pub fn kernel_path(&self) -> &'static str {
        let has = |name| self.present().any(|present| present == name);
        let may = |wanted| level() >= wanted;
        let wide = ["AVX-512F", "AVX-512BW", "AVX-512DQ", "AVX-512VL"];
        if may(Level::Avx512) && wide.into_iter().all(has) {
            "AVX-512"
        } else if may(Level::Avx2) && has("AVX2") && has("FMA") {
            "AVX2"
        } else if has("NEON") {
            "NEON"
        } else {
            "plain"
        }
    }
}

/// Asks the processor.
///
/// ```
/// let cpu = stillhouse_student::cpu::detect();
/// assert!(cpu.n_threads >= 1);
/// assert!(["AVX-512", "AVX2", "NEON", "plain"].contains(&cpu.kernel_path()));
/// ```
pub fn detect() -> Cpu {
    Cpu {
        architecture: std::env::consts::ARCH,
        n_threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        instruction_sets: instruction_sets(),
    }
}

#[cfg(target_arch = "x86_64")]
fn instruction_sets() -> Vec<InstructionSet> {
    macro_rules! sets {
        ($($name:literal $feature:tt)*) => {
            vec![$(InstructionSet { name: $name, is_present: is_x86_feature_detected!($feature) }),*]
        };
    }
    sets! {
        "AVX2" "avx2"
        "FMA" "fma"
        "AVX-512F" "avx512f"
        "AVX-512BW" "avx512bw"
        "AVX-512DQ" "avx512dq"
        "AVX-512VL" "avx512vl"
        "AVX-512 BF16" "avx512bf16"
        "AVX-512 VNNI" "avx512vnni"
        "AVX-512 FP16" "avx512fp16"
    }
}

#[cfg(target_arch = "aarch64")]
fn instruction_sets() -> Vec<InstructionSet> {
    macro_rules! sets {
        ($($name:literal $feature:tt)*) => {
            vec![$(InstructionSet {
                name: $name,
                is_present: std::arch::is_aarch64_feature_detected!($feature),
            }),*]
        };
    }
    sets! { "NEON" "neon" "BF16" "bf16" "FP16" "fp16" "DOTPROD" "dotprod" "I8MM" "i8mm" }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn instruction_sets() -> Vec<InstructionSet> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_path_needs_every_part_of_its_instruction_set() {
        check(&[], "plain");
        check(&["AVX2"], "plain");
        check(&["AVX2", "FMA"], "AVX2");
        check(&["AVX2", "FMA", "AVX-512F"], "AVX2");
        check(
            &[
                "FMA",
                "AVX2",
                "AVX-512F",
                "AVX-512BW",
                "AVX-512DQ",
                "AVX-512VL",
            ],
            "AVX-512",
        );
        check(&["NEON"], "NEON");
    }

    fn check(names: &[&'static str], expected: &str) {
        let set = |name: &&'static str| InstructionSet {
            name,
            is_present: true,
        };
        let instruction_sets = names.iter().map(set).collect();
        let cpu = Cpu {
            architecture: "any",
            n_threads: 1,
            instruction_sets,
        };
        assert_eq!(cpu.kernel_path(), expected);
    }
}
