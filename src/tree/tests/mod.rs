mod objects;
mod skipping;
