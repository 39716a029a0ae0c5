//! What is made of a table whose functions all return one type of result.

macro_rules! typed {
    (_) => {
        false
    };
    ($args:tt) => {
        true
    };
}

macro_rules! function_type {
    ($result:ident $name:ident _) => {};
    ($result:ident $name:ident ($($arg:ident: $ty:ty),*)) => {
        pub type $name = unsafe extern "C" fn($($arg: $ty),*) -> $result;
    };
}

/// Expands a table. `$result` is what every function returns, `$number` the field of the module's
/// `Entry` that takes the number beside a name; the module's `class!` makes a word a `Class`.
macro_rules! api {
    ($result:ident $number:ident: $($class:ident $args:tt { $($name:ident $value:literal),* })*) => {
        /// The functions by name; the value is the place in [`FUNCTIONS`].
        #[allow(non_camel_case_types, missing_docs)] // the API's own names
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Function {
            $($($name,)*)*
        }

        /// All functions, in the order of the table.
        pub const FUNCTIONS: &[Entry] = &[$($(Entry {
            name: stringify!($name),
            class: class!($class),
            $number: $value,
            typed: typed!($args),
        },)*)*];

        const ALL: &[Function] = &[$($(Function::$name,)*)*];

        /// Functions of the table.
        pub const COUNT: usize = FUNCTIONS.len();

        impl Function {
            /// Place in the table.
            #[must_use]
            pub const fn slot(self) -> usize {
                self as usize
            }

            /// What the table says of it.
            #[must_use]
            pub const fn entry(self) -> &'static Entry {
                &FUNCTIONS[self.slot()]
            }

            /// The exported symbol.
            #[must_use]
            pub const fn name(self) -> &'static str {
                self.entry().name
            }

            /// All functions, in the order of the table.
            pub fn all() -> impl ExactSizeIterator<Item = Self> {
                ALL.iter().copied()
            }
        }

        /// The type of each function whose signature the table tells, under its name.
        pub mod pfn {
            #![allow(non_camel_case_types, missing_docs)] // the API's own names
            #![allow(unused_imports, reason = "each API uses some of C's types")]
            use super::types::*;
            use std::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
            $($(function_type!($result $name $args);)*)*
        }
    };
}
