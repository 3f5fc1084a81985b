//! Tests of the formats: round trips, what must be refused, frozen bytes, hostile bytes.

mod changes;
mod columns;
mod fork;
mod golden;
mod hostile;
mod refused;
mod round_trip;
mod samples;
mod schema;
mod size;
