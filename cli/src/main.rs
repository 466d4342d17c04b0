//! tepui
fn main() {}
