//! `bpf/dlmp.h`, as bindgen reads it.
#![allow(unsafe_code, missing_docs, non_camel_case_types, dead_code, clippy::all, clippy::pedantic)]

include!(concat!(env!("OUT_DIR"), "/dlmp.rs"));

// SAFETY: plain C structures with fixed-width fields, no padding and no invalid bit patterns.
unsafe impl aya::Pod for dlmp_aggregation {}
// SAFETY: as above.
unsafe impl aya::Pod for dlmp_port {}
// SAFETY: as above.
unsafe impl aya::Pod for dlmp_address {}
// SAFETY: as above.
unsafe impl aya::Pod for dlmp_client {}
// SAFETY: as above.
unsafe impl aya::Pod for dlmp_slot {}
// SAFETY: as above.
unsafe impl aya::Pod for dlmp_counters {}
// SAFETY: as above.
unsafe impl aya::Pod for dlmp_event {}
// SAFETY: as above.
unsafe impl aya::Pod for dlmp_pair {}

/// The compiled programs, aligned as the ELF reader wants them.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dlmp.o"));
