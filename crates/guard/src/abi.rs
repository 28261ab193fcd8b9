//! `bpf/guard.h`, as bindgen reads it.
#![allow(unsafe_code, missing_docs, non_camel_case_types, dead_code, clippy::all, clippy::pedantic)]

include!(concat!(env!("OUT_DIR"), "/guard.rs"));

// SAFETY: plain C structures with fixed-width fields, no padding and no invalid bit patterns.
unsafe impl aya::Pod for guard_settings {}
// SAFETY: as above.
unsafe impl aya::Pod for guard_ip {}
// SAFETY: as above.
unsafe impl aya::Pod for guard_heard {}
// SAFETY: as above.
unsafe impl aya::Pod for guard_state {}
// SAFETY: as above.
unsafe impl aya::Pod for guard_buckets {}
// SAFETY: as above.
unsafe impl aya::Pod for guard_counters {}
// SAFETY: as above.
unsafe impl aya::Pod for guard_ledger {}

/// The compiled programs, aligned as the ELF reader wants them.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/guard.o"));

/// A number of exactly these programs: a hash of the object file.
pub(crate) const BUILD: u64 = match u64::from_str_radix(env!("GUARD_BUILD"), 10) {
    Ok(build) => build,
    Err(_) => panic!("the build script wrote no number"),
};
