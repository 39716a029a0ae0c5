//! Sees accelerators: one module per vendor behind one trait
