//! frameworks/sdk
