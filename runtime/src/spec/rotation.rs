//! How the output of a command is kept from growing without an end.

use serde::{Deserialize, Serialize};

/// Rotation of both output files. The keeper reads the command's output from pipes then and writes the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Standard output.
    pub stdout: RotateBy,
    /// Standard error.
    pub stderr: RotateBy,
}

/// How one file is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotateBy {
    /// The file becomes an old one before it would grow beyond this; less than a page counts as a page.
    pub max_bytes: u64,
    /// How many old files stay: `NAME.1` is the newest. 0 keeps none.
    pub keep: u32,
}
