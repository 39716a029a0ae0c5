//! Decides: admission, order, placement, gangs, quota, explanation. Pure.
