//! Tests of the formats: round trips, what must be refused, frozen bytes, hostile bytes.

mod round_trip;
mod samples;
