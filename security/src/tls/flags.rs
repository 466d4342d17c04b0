//! The flags about TLS. Mesos has no flags for it but variables, `LIBPROCESS_SSL_…`; these have the names behind
//! `LIBPROCESS_`, and the variables count.

use model::flags::{Flag, Form};

/// How the names of Mesos' variables begin.
pub const PREFIX: &str = "LIBPROCESS_";

/// For servers and clients.
pub const TLS: &[Flag] = &[
    Flag::new("ssl_enabled", Form::Bool, None, "Speak TLS 1.2 or 1.3, and nothing else. [default: false]"),
    Flag::new(
        "ssl_cert_file",
        Form::Path,
        None,
        "Own certificate in PEM, followed by what signed it below the CA.",
    ),
    Flag::new("ssl_key_file", Form::Path, None, "The key of the certificate in PEM."),
    Flag::new(
        "ssl_ca_file",
        Form::Path,
        None,
        "Certificates in PEM of who signs the certificates of others.",
    ),
    Flag::new("ssl_ca_dir", Form::Path, None, "Folder with such files."),
    Flag::new(
        "ssl_verify_server_cert",
        Form::Bool,
        None,
        "Always true: certificate and name or address of who is spoken to are verified. Mesos: false.",
    )
    .aliases(&["ssl_verify_cert"]),
];

/// For servers alone.
pub const SERVER: &[Flag] = &[
    Flag::new(
        "ssl_require_client_cert",
        Form::Bool,
        None,
        "Nobody may connect without a certificate signed by the CA, not even browsers. [default: false]",
    )
    .aliases(&["ssl_require_cert"]),
    Flag::new(
        "ssl_support_downgrade",
        Form::Bool,
        None,
        "Also hear who speaks in plain text on the same port. [default: false]",
    ),
];

/// For the master alone.
pub const MASTER: &[Flag] = &[Flag::new(
    "ssl_require_agent_cert",
    Form::Bool,
    None,
    "With TLS: no agent may connect without a certificate signed by the CA. [default: true with a CA]",
)];

/// Flags that do nothing: addresses are always verified, old versions are never spoken, and rustls chooses well.
pub const IGNORED: &[&str] = &[
    "ssl_ciphers",
    "ssl_ecdh_curves",
    "ssl_enable_ssl_v3",
    "ssl_enable_tls_v1_0",
    "ssl_enable_tls_v1_1",
    "ssl_enable_tls_v1_2",
    "ssl_enable_tls_v1_3",
    "ssl_hostname_validation_scheme",
    "ssl_verification_depth",
    "ssl_verify_ipadd",
];
