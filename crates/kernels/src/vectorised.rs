//! Loops compiled once for each instruction set, and chosen when they run.

/// Defines a function whose body is compiled for AVX-512, for AVX2 and for any processor; the best that this one has runs.
///
/// The body is inlined into each, with all that it calls if that is `#[inline(always)]`, so plain loops come out in the widest vectors there are.
macro_rules! vectorised {
    ($(#[$note:meta])* $visible:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$note])*
        $visible fn $name($($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body($($arg: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn for_avx512($($arg: $type),*) $(-> $result)? {
                    body($($arg),*)
                }

                #[target_feature(enable = "avx2,fma")]
                fn for_avx2($($arg: $type),*) $(-> $result)? {
                    body($($arg),*)
                }

                match $crate::level::level() {
                    // SAFETY: the processor has what its level says.
                    $crate::level::Level::Avx512 => return unsafe { for_avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::level::Level::Avx2 => return unsafe { for_avx2($($arg),*) },
                    $crate::level::Level::Plain => {}
                }
            }
            body($($arg),*)
        }
    };
}

pub(crate) use vectorised;
