//! Grants device time in turns.
