//! Lines on standard output.

use core::fmt;
use std::io::{self, Write};
use std::process;

/// Prints a line as the standard library's macro does, and ends well where that one panics.
macro_rules! println {
    ($($text:tt)*) => {
        $crate::cli::output::line(format_args!($($text)*))
    };
}

/// Whoever reads may have seen enough: what is being done goes on without being told. An output that can't be written ends it.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("Error: cannot write the output: {error}");
            process::exit(1);
        }
        _ => {}
    }
}
